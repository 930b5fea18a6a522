"""The audit log as a program uses it."""

import pytest
from support.audit_files import Log
from support.console import Console

from keylease.audit.read import service as module
from keylease.audit.read.links import Links
from keylease.audit.read.reader import lines
from keylease.embed.services import audit_service
from keylease.errors import AuditError, StateMissingError, UsageError
from keylease.model import Target

TARGET = Target("web", "https", "api.example.com")


@pytest.fixture
def console(tmp_path, monkeypatch, capsys):
    """Return a console on a machine where keylease was never used."""
    return Console(tmp_path / "state", monkeypatch, capsys)


@pytest.fixture
def service(console):
    """Return the service of a user who has logged in once."""
    console.login()
    return audit_service()


def test_line_that_is_logged_is_found(service):
    """A program that logs a line can search for it and gets its names back."""
    service.log("session.validated", target=TARGET, username="ada")

    (record,) = service.query(events=["session.validated"])

    assert (TARGET._asdict(), "ada", 4) == (record.target, record.username, record.seq)


def test_line_of_no_list_is_refused(service):
    """An unknown event is refused and not written."""
    with pytest.raises(ValueError, match="not in the audit log's lists"):
        service.log("coffee.made")

    assert 3 == len(list(service.query()))


def test_line_without_a_key_is_refused(console, service):
    """A line without a key to vouch for it is refused."""
    for item in console.keystore.items:
        console.keystore.delete(item)

    with pytest.raises(AuditError):
        service.log("session.validated", target=TARGET)


@pytest.mark.parametrize("target", ["https://git.example/", "git.example/", "https://git.exam*/"])
def test_target_is_found_with_a_slash_at_its_end(service, target):
    """A target matches its address with a slash at the end, as browsers copy it."""
    assert ["session.created", "login"] == [each.event for each in service.query(target=target)]


def test_search_says_what_it_proves(service):
    """A search result says whether its lines can be believed."""
    search = service.query(since="1d", until=10**19)

    assert ["vault.created", "session.created", "login"] == [record.event for record in search]
    assert (3, None, None) == search.trust()


def test_time_that_makes_no_sense_is_refused(service):
    """A mistyped time is refused instead of selecting the whole log."""
    with pytest.raises(UsageError):
        service.query(since="hunter2")


def test_end_of_the_log_is_followed(service):
    """A follower gets appended lines and sleeps between two looks."""
    pauses = []

    def pause():
        pauses.append(1)
        service.log("session.validated", target=TARGET)

    found = service.tail(1, follow=True, pause=pause)

    assert ["login", "session.validated", "session.validated"] == [
        next(found).event for _ in range(3)
    ]
    assert [1, 1] == pauses


def test_day_that_is_removed_meanwhile_is_looked_for_again(service, monkeypatch):
    """A day that retention removes during a check is not reported as damage."""
    original, calls = module.judge.verify, []

    def verify(*args, **named):
        calls.append(1)
        if len(calls) == 1:
            msg = "audit/2026-01-01.jsonl was removed meanwhile"
            raise StateMissingError(msg)
        return original(*args, **named)

    monkeypatch.setattr(module.judge, "verify", verify)

    assert service.verify().result in {"ok", "pin-missing"}
    assert 2 == len(calls)


def test_reading_makes_nothing(console):
    """Reading the log creates no directory."""
    service = audit_service()

    assert [] == list(service.query())
    assert [] == list(service.tail())
    assert "key-missing" == service.verify().result
    assert not console.state.exists()


def test_first_hole_is_told(tmp_path):
    """Of several holes, the first is reported, since a search for the cause begins there."""
    log = Log(tmp_path / "audit")
    links = Links({})
    for number in range(3):
        log.add(number, seq=1 + 2 * number)
    for line in lines(str(log.directory)):
        links.add(line)

    assert "lines 2 to 2 were not found there" == links.close()
