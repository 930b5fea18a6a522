"""The gate of a release: the last check before a secret leaves, and the end that waits for it."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.rig import EXAMPLE, PASSWORD, Rig, bring, text

from keylease.errors import (
    LockTimeoutError,
    SessionEndedError,
    SessionNotFoundError,
    StateError,
)
from keylease.model import Request
from keylease.session.select import Asked
from keylease.store.release import ReleaseGate
from keylease.store.store import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.vault.rotation import KeyCustody

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="there is no lock that readers share")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a service with one session."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())
    return rig


def custody(rig: Rig) -> KeyCustody:
    """Return the custody of the rig's key, as the next process has it."""
    rig = rig.again()
    return rig.custody


ENDS: dict[str, Callable[[Rig], object]] = {
    "logout": lambda rig: rig.again().session.terminate(EXAMPLE),
    "logout of all": lambda rig: rig.again().session.terminate_all(),
    "erase": lambda rig: rig.again().session.erase(EXAMPLE),
    "replaced": lambda rig: rig.again().session.store(bring(password=b"another")),
    "rotate": lambda rig: custody(rig).rotate(),
    "revoke": lambda rig: custody(rig).revoke(),
    "by hand": lambda rig: [path.unlink() for path in rig.sealed()],
}


@pytest.mark.parametrize("end", ENDS)
def test_gate_lets_nothing_out_after_the_end(rig: Rig, end: str) -> None:
    """If another process ends the session between decision and write, nothing is written."""
    reply = rig.session.release(Asked(EXAMPLE))
    ENDS[end](rig)

    with pytest.raises(SessionNotFoundError), reply.gate:
        pytest.fail("the secret was let out")

    assert ("session.refused", "not_found") == rig.events()[-1]


def test_gate_lets_out_what_is_alive(rig: Rig) -> None:
    """The control: with nothing in between the secret is written, and nothing more is logged."""
    reply = rig.session.release(Asked(EXAMPLE))

    with reply.gate:
        assert PASSWORD == text(reply.credential.secret)

    assert ("session.released", None) == rig.events()[-1]


def test_gate_refuses_what_the_clock_has_ended(rig: Rig) -> None:
    """If the session expires while the machine sleeps before the write, nothing is written."""
    reply = rig.session.release(Asked(EXAMPLE))
    rig.clock.suspend(901)

    with pytest.raises(SessionEndedError), reply.gate:
        pytest.fail("the secret was let out")

    assert ("session.refused", "idle") == rig.events()[-1]


def test_gate_refuses_what_is_late(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for an answer nothing is written, even if the session lives."""
    monkeypatch.setattr("keylease.store.release._SECONDS", 0)
    reply = rig.session.release(Asked(EXAMPLE))

    with pytest.raises(LockTimeoutError), reply.gate:
        pytest.fail("the secret was let out")

    assert ("session.refused", "state") == rig.events()[-1]


def test_write_that_fails_is_on_record(rig: Rig) -> None:
    """If the reader has gone, a line after that of the release says so."""
    reply = rig.session.release(Asked(EXAMPLE))

    with pytest.raises(StateError), reply.gate:
        raise StateError("stdout is gone")  # noqa: EM101, TRY003 - as the writer says it

    assert ("session.refused", "state") == rig.events()[-1]


@pytest.mark.parametrize("end", ENDS)
def test_library_is_given_nothing_after_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A program that was held up in `get` while its session ended gets an error."""

    def held_up(gate: ReleaseGate) -> ReleaseGate:
        ENDS[end](rig)
        return enter(gate)

    enter = ReleaseGate.__enter__
    monkeypatch.setattr(ReleaseGate, "__enter__", held_up)

    with pytest.raises(SessionNotFoundError):
        rig.session.get(EXAMPLE)


@POSIX
@pytest.mark.parametrize("end", [end for end in ENDS if end != "by hand"])
def test_end_that_meets_a_write_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """An end during a write destroys, waits, and reports the write that it could not wait for."""
    reply = rig.session.release(Asked(EXAMPLE))
    (sealed,) = rig.sealed()
    waited = []

    def wait(_seconds: float) -> None:
        waited.append(sealed.exists())

    monkeypatch.setattr("keylease.store.release.time.sleep", wait)
    monkeypatch.setattr("keylease.testing._PATIENCE_SECONDS", 0.05)

    with reply.gate:
        try:
            done = ENDS[end](rig)
            failures = getattr(done, "failures", [])
        except StateError as error:
            failures = [error]

    assert {False} == set(waited), "it waits after the file is gone"
    assert ["a release did not finish" in str(each) for each in failures] == [True]
    assert not sealed.exists()


@POSIX
def test_end_goes_on_when_the_write_is_over(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end waits only until the write is over."""
    reply = rig.session.release(Asked(EXAMPLE))
    with contextlib.ExitStack() as writing:
        writing.enter_context(reply.gate)
        monkeypatch.setattr("keylease.store.release.time.sleep", lambda _seconds: writing.close())

        (ended,) = rig.again().session.terminate(EXAMPLE)

    assert reply.session.id == ended.id


def test_reader_of_the_file_holds_up_no_decision(rig: Rig) -> None:
    """While one answer is being written, another is given."""
    with rig.session.release(Asked(EXAMPLE)).gate:
        assert PASSWORD == text(rig.again().session.get(EXAMPLE).credential.secret)


@POSIX
def test_no_descriptor_is_left_by_any_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer leaks a descriptor, whether given, refused, discarded or forgotten."""

    def refused() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("keylease.store.release._SECONDS", 0)
            reply = rig.session.release(Asked(EXAMPLE))
        with pytest.raises(LockTimeoutError), reply.gate:
            pytest.fail("the secret was let out")

    def unopened() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("keylease.store.opened.open_credential", _fail)
            with pytest.raises(StateError):
                rig.session.release(Asked(EXAMPLE))

    rig.session.get(EXAMPLE)
    before = _descriptors()
    for use in (
        lambda: rig.session.get(EXAMPLE),
        lambda: rig.session.release(Asked(EXAMPLE)),
        lambda: rig.session.handle(Request("get", EXAMPLE)),
        refused,
        unopened,
    ):
        use()
    gc.collect()

    assert before == _descriptors()


def test_end_by_a_store_without_readers_waits_for_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending a session without readers does not wait."""
    rig.session.get(EXAMPLE)
    monkeypatch.setattr("keylease.store.release.time.sleep", _fail)

    assert isinstance(rig.store, SessionStore)
    assert 1 == len(rig.session.terminate(EXAMPLE))


def _descriptors() -> set[str]:
    """Return the open descriptors of this process."""
    return {path.name for path in Path("/dev/fd").iterdir()}


def _fail(*_: object) -> None:
    raise StateError("the system refuses")  # noqa: EM101, TRY003 - it is what the system says
