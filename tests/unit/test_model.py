"""The values between the layers: valid limits, unchanged names, wiped secrets."""

from typing import get_args

import pytest

from keylease.errors import UsageError
from keylease.model import (
    CAP_SECONDS,
    IDLE_SECONDS,
    MAX_CAP_SECONDS,
    NANOSECONDS,
    Credential,
    Limits,
    Moment,
    Reason,
    Reply,
    Request,
    Session,
    Target,
    rfc3339,
)
from keylease.secrets.secret import Secret

WHERE = Target("web", "https", "example.com")


def test_defaults_are_15_minutes_and_8_hours():
    """The limits are safe without any configuration."""
    assert (900, 8 * 3600) == Limits()
    assert (IDLE_SECONDS, CAP_SECONDS, MAX_CAP_SECONDS) == (900, 8 * 3600, 12 * 3600)
    assert Limits() == Limits().check()


@pytest.mark.parametrize(
    ("idle", "cap"),
    [(1, 1), (1, MAX_CAP_SECONDS), (MAX_CAP_SECONDS, MAX_CAP_SECONDS), (60, 60)],
)
def test_limits_at_their_bounds_are_taken(idle, cap):
    """The limits accept one second and twelve hours."""
    assert (idle, cap) == Limits(idle, cap).check()


@pytest.mark.parametrize(
    ("idle", "cap", "told"),
    [
        (0, CAP_SECONDS, "an idle timeout of 0 s, expected 1 to 28800"),
        (-1, CAP_SECONDS, "an idle timeout of -1 s"),
        (901, 900, "an idle timeout of 901 s, expected 1 to 900"),
        (2**63, CAP_SECONDS, "an idle timeout of 9223372036854775808 s"),
        (900, 0, "an absolute cap of 0 s, expected 1 to 43200"),
        (900, -5, "an absolute cap of -5 s"),
        (900, MAX_CAP_SECONDS + 1, "an absolute cap of 43201 s"),
        (900, 2**63, "an absolute cap of 9223372036854775808 s"),
        (float("nan"), CAP_SECONDS, "an idle timeout of nan s"),
        (900, float("inf"), "an absolute cap of inf s"),
    ],
)
def test_limits_that_make_no_sense_are_refused(idle, cap, told):
    """An invalid limit never makes a session that lives for ever."""
    with pytest.raises(UsageError, match=told):
        Limits(idle, cap).check()


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (Target("web", "https", "example.com"), "https://example.com"),
        (Target("web", "https", "example.com:8443", "a/b.git"), "https://example.com:8443/a/b.git"),
        (Target("web", "https", "example.com", ""), "https://example.com/"),
    ],
)
def test_a_target_is_shown_as_people_write_it(target, url):
    """A target is shown as a URL, and an absent path differs from an empty one."""
    assert url == target.url


def test_an_extra_field_is_found_by_its_name():
    """An extra field is found by its name, so a refresh token is not taken for the password."""
    token = Secret(b"token")
    held = Credential("bob", Secret(b"p"), fields=(("oauth_refresh_token", token),))

    assert token is held.field("oauth_refresh_token")
    assert held.field("something_else") is None


def test_wiping_a_credential_wipes_every_secret_in_it():
    """Wiping a credential wipes its extra fields, too."""
    held = Credential("bob", Secret(b"pass"), fields=(("a", Secret(b"one")), ("b", Secret(b"two"))))
    views = [held.secret.reveal(), *(value.reveal() for _, value in held.fields)]
    held.wipe()

    assert [bytes(4), bytes(3), bytes(3)] == [bytes(view) for view in views]


def test_wiping_a_request_wipes_what_it_brought():
    """A request without a secret can be wiped, too."""
    brought = Credential("bob", Secret(b"pass"))
    view = brought.secret.reveal()
    Request("store", Target("web", "https", "example.com"), "bob", brought).wipe()
    Request("get").wipe()

    assert bytes(4) == bytes(view)


def test_no_value_shows_a_secret():
    """A value shown in a message or a traceback shows no secret."""
    brought = Credential("bob", Secret(b"needle-9a"), fields=(("t", Secret(b"needle-9a")),))
    shown = repr(Request("store", Target("web", "https", "h"), "bob", brought))

    assert "bob" in shown
    assert "needle" not in shown


def test_the_reasons_of_an_end_are_the_ten_that_the_documents_name():
    """The log and the messages use exactly the ten documented reasons."""
    expected = "idle cap credential_expired logout erased revoked reboot clock tampered replaced"

    assert expected.split() == list(get_args(Reason))


def test_a_peer_that_keeps_an_answer_is_told_to_ask_half_way():
    """A peer asks again at half time, so its use counts; it never keeps an answer past the end."""
    made, used = Moment(1000 * NANOSECONDS, 1, "b"), Moment(1100 * NANOSECONDS, 1, "b")
    session = Session("0" * 32, WHERE, "u", None, None, 1, made, used, used, 900, 28800)
    reply = Reply(session, Credential("u", Secret(b"s")), 2000)

    assert (1550, 29800) == (reply.halfway, reply.last)
    assert 5000 == reply._replace(session=session._replace(expires=5000)).last


def test_a_time_is_written_in_utc_to_the_second():
    """A tool, the vault's record and `keylease status` write a time in the same way."""
    assert "2026-11-22T11:26:21Z" == rfc3339(1_795_346_781 * NANOSECONDS + 999_999_999)
