"""git's protocol, rule by rule."""

import contextlib
import gc

import pytest

from keylease.errors import (
    KeychainUnavailableError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    VaultRevokedError,
)
from keylease.model import Credential, Moment, Refusal, Reply, Request, Session, Target
from keylease.protocols import git
from keylease.protocols.base import Call
from keylease.secrets.memory import secure_clear
from keylease.secrets.secret import Secret

SESSION = "0123456789abcdef0123456789abcdef"
WHERE = "protocol=https\nhost=example.com\n"
NEVER_EMPTY = "protocol=https\nhost=example.com\nusername=u\npassword=p\n"
BOTH = frozenset({"authtype", "state"})


def call(action, message=b""):
    """Return the helper's call for one start by git."""
    return Call((action,), {}, message)


def said(request, reply):
    """Return the whole answer as bytes."""
    return b"".join(git.render(request, reply))


def parse(action, message):
    """Parse text or bytes as if they came from stdin."""
    if isinstance(message, str):
        message = message.encode("utf-8", "surrogateescape")
    return git.parse(call(action, bytearray(message)))


def refusal(action, message):
    """Return the refusal of the message, after checking that it shows no value."""
    with pytest.raises(RequestError) as caught:
        parse(action, message)
    assert caught.value.hint
    return str(caught.value)


def revealed(secret):
    """Return the bytes of a secret, or None."""
    return None if secret is None else bytes(secret.reveal())


def password(request):
    """Return the secret that a request brought."""
    return None if request.credential is None else revealed(request.credential.secret)


def answer(
    username="bob",
    secret=b"hunter2",
    *,
    authtype=None,
    expires=None,
    fields=(),
    ends=2_000_000_000,
):
    """Return a reply as the session rules make it."""
    target = Target("web", "https", "example.com", "a.git")
    now = Moment(1, 1, "boot")
    session = Session(SESSION, target, username, authtype, expires, 1, now, now, None, 900, 28800)
    credential = Credential(username, Secret(secret), authtype, expires, fields)
    return Reply(session, credential, ends)


def rendered(reply, *capabilities):
    """Return the answer to a get that announced the capabilities."""
    request = Request("get", reply.session.target, capabilities=frozenset(capabilities))
    return said(request, reply)


# --- operations -------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_the_three_operations_are_understood(action):
    """git's three operations keep their names."""
    request = parse(action, WHERE)

    assert action == request.action
    assert Target("web", "https", "example.com", None) == request.target


@pytest.mark.parametrize("action", ["", "GET", "list", "fill", "--help", "get\n", "\udcff"])
@pytest.mark.parametrize("message", [b"", b"no equals sign", b"\0\r", b"x" * (git.MAX_REQUEST + 1)])
def test_an_unknown_operation_is_ignored_whatever_it_says(action, message):
    """An operation of a later git is not an error and gets no answer."""
    request = parse(action, message)

    assert Request("ignore") == request
    assert b"" == said(request, None)


def test_the_capability_operation_describes_what_is_done_here():
    """`capability` lists the capabilities that this helper has."""
    request = parse("capability", b"")

    assert Request("describe") == request
    assert b"version 0\ncapability authtype\ncapability state\n" == said(request, None)


# --- lines ------------------------------------------------------------------------------------


def test_a_value_is_everything_after_the_first_equals_sign():
    """Spaces, quotes, percent signs and equals signs in a password arrive as they were sent."""
    secret = "  a=b= %41 'x' \"y\" \\n\t"

    request = parse("store", f"{WHERE}username= u=%20 \npassword={secret}\n")

    assert secret.encode() == password(request)
    assert " u=%20 " == request.username


@pytest.mark.parametrize("end", ["\n\n", "\n", ""])
def test_a_message_ends_with_a_blank_line_or_with_its_last_byte(end):
    """The last line may lack its newline, and the blank line may be missing."""
    request = parse("get", "protocol=https\nhost=example.com" + end)

    assert "example.com" == request.target.host


def test_what_follows_the_blank_line_is_not_looked_at():
    """A message ends at its blank line, whatever else the pipe has."""
    request = parse("get", WHERE + "\nhost=evil.example\ngarbage\0\r")

    assert "example.com" == request.target.host


def test_a_message_in_text_mode_is_understood():
    """A message with CRLF at every line comes from a peer in text mode, and is accepted."""
    message = NEVER_EMPTY + "\n"

    request = parse("store", message.replace("\n", "\r\n"))

    assert Target("web", "https", "example.com", None) == request.target
    assert "u" == request.username
    assert b"p" == password(request)


@pytest.mark.parametrize(
    "message",
    [
        "protocol=https\nhost=github.com\r\n",
        "protocol=https\nhost=github.com\r\n\n",
        "protocol=https\r\nhost=github.com\n",
        "protocol=https\r\nhost=github.com\r\n\n",
        "protocol=https\r\nhost=github.com",
        "protocol=https\r\nhost=github.com\r",
        "protocol=https\nhost=github.com\r",
        "host=github.com\r\nprotocol=https\n",
        "host=github.com\r\nprotocol=https",
        "url=https://github.com\r\n",
        "url=https://github.com\r\n\n",
        "url=https://github.com\r",
        "protocol=https\r\nhost=github.com\r\r\n",
        "protocol=https\nhost=evil.example\rhost=github.com\n",
        "protocol=https\r\nhost=evil.example\rhost=github.com\r\n",
        "protocol=https\nhost=github.com\npath=a\rb\n",
        "protocol=https\nhost=github.com\nunknown=a\rb\n",
        "protocol=https\nhost=github.com\nun\rknown=b\n",
        "protocol=https\nhost=github.com\npassword=a\rb\n",
    ],
)
@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_a_carriage_return_that_could_belong_to_a_value_is_refused(action, message):
    """The host "github.com" followed by CR is never read as github.com (CVE-2024-50338)."""
    assert refusal(action, message)


@pytest.mark.parametrize("key", ["host", "protocol", "path", "username", "password", "unknown"])
def test_nul_is_refused_everywhere(key):
    """NUL is refused, because git's C strings end there and only keylease would see the rest."""
    message = f"{key}=github.com\0.evil.example\n"

    assert "NUL" in refusal("store", message)


@pytest.mark.parametrize("code", [*range(1, 10), *range(11, 13), *range(14, 32), 127])
@pytest.mark.parametrize("key", ["protocol", "host", "path", "username"])
def test_control_characters_are_refused_in_names(key, code):
    """A name with a control character is refused: it may be invisible, or look like two lines."""
    fields = {"protocol": "https", "host": "example.com", key: f"a{chr(code)}b"}
    message = "".join(f"{name}={value}\n" for name, value in fields.items())

    assert f"{key} has a control character" == refusal("get", message)


@pytest.mark.parametrize("code", [*range(1, 10), *range(11, 13), *range(14, 32), 127])
def test_control_characters_are_refused_in_keys(code):
    """A key with a control character is refused, whether it is known or not."""
    assert "control character" in refusal("get", f"{WHERE}ho{chr(code)}st=evil.example\n")


@pytest.mark.parametrize("code", [*range(1, 10), *range(11, 13), *range(14, 32), 127])
def test_control_characters_in_a_secret_are_kept(code):
    """A password may have any byte that a line can carry."""
    request = parse("store", f"{WHERE}username=u\npassword=a{chr(code)}b\n")

    assert f"a{chr(code)}b".encode() == password(request)


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\ufeff"])
def test_what_only_unicode_takes_for_a_line_end_is_kept_literally(mark):
    """NEL and the Unicode separators are ordinary bytes and never begin a second attribute."""
    request = parse("get", f"protocol=https\nhost=evil{mark}host=github.com\n")

    assert f"evil{mark}host=github.com" == request.target.host


def test_bytes_that_are_not_utf_8_arrive_unchanged():
    """Names and secrets are bytes: a Latin-1 password and user name work."""
    message = (
        b"protocol=https\nhost=h\xff\npath=\xfe\nusername=\xe4\x80\npassword=\xff\xfe\x80\xe4\n"
    )

    request = parse("store", message)

    assert "h\udcff" == request.target.host
    assert "\udcfe" == request.target.path
    assert b"\xe4\x80" == request.username.encode("utf-8", "surrogateescape")
    assert b"\xff\xfe\x80\xe4" == password(request)


@pytest.mark.parametrize("line", ["garbage", "host", " ", "\u2028"])
def test_a_line_without_an_equals_sign_refuses_the_message(line):
    """A line without "=" refuses the message; a reader that skips lines may skip the wrong one."""
    assert "line 3 has no '=': expected key=value" == refusal("get", f"{WHERE}{line}\n")


@pytest.mark.parametrize("key", ["password", "unknown", "wwwauth[]", "state[]"])
def test_a_line_of_65535_bytes_is_accepted(key):
    """A line of 65535 bytes with its newline is accepted, as git-credential(1) allows."""
    value = "x" * (65_535 - len(key) - len("=\n"))

    request = parse("store", f"{WHERE}username=u\n{key}={value}\n")

    assert "example.com" == request.target.host
    if key == "password":
        assert value.encode() == password(request)


@pytest.mark.parametrize("key", ["password", "unknown", "wwwauth[]"])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_longer_line_is_refused(key, end):
    """One byte more is refused, with or without its newline."""
    value = "x" * (65_536 - len(key) - len("=\n"))

    assert "line 3 is longer than 65535 bytes" == refusal("store", f"{WHERE}{key}={value}{end}")


def test_a_long_value_is_never_read_as_a_second_line():
    """A value that contains an attribute stays one value, wherever a buffer may end."""
    for length in (1023, 1024, 4095, 4096, 65_000):
        filler = "a" * length
        request = parse("get", f"{WHERE}wwwauth[]={filler}host=victim.example\n")

        assert "example.com" == request.target.host


def test_a_message_of_one_mebibyte_is_accepted_and_one_byte_more_is_not():
    """A message of 1 MiB is accepted, and one more byte is refused, so memory is bounded."""
    line = b"wwwauth[]=" + b"x" * 1013 + b"\n"
    message = WHERE.encode() + line * 1024
    message = message[: git.MAX_REQUEST - 10] + b"\nunknown=\n"
    assert git.MAX_REQUEST == len(message)

    assert "example.com" == parse("get", message).target.host
    assert "the request is longer than 1048576 bytes" == refusal("get", message + b"x")


# --- attributes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "",
        "\n",
        "\nprotocol=https\nhost=example.com\n",
        "protocol=https\n",
        "host=example.com\n",
        "protocol=\nhost=example.com\n",
        "protocol=https\nhost=\n",
        "protocol=cert\nhost=\npath=me.pem\n",
        "username=u\n",
        "username=u\npassword=p\n",
        "path=/\n",
        "HOST=example.com\nPROTOCOL=https\n",
        "host =example.com\n protocol=https\n",
    ],
)
@pytest.mark.parametrize("action", ["get", "store", "erase"])
def test_a_missing_host_or_protocol_never_means_any(action, message):
    """A request without host or protocol is refused; otherwise it could erase or leak all."""
    assert "the request has no " in refusal(action, message)


@pytest.mark.parametrize(
    "key",
    [
        "protocol",
        "host",
        "path",
        "username",
        "password",
        "authtype",
        "credential",
        "password_expiry_utc",
        "oauth_refresh_token",
        "ephemeral",
    ],
)
@pytest.mark.parametrize("second", ["1", "2", ""])
def test_an_attribute_that_comes_twice_is_refused(key, second):
    """A repeated attribute is refused, because git reads the last one and others the first."""
    message = f"capability[]=authtype\n{key}=1\n{key}={second}\n"

    assert f"the request has more than one {key}" == refusal("store", message)


@pytest.mark.parametrize("line", ["ntlm=suppressed", "quit=1", "continue=1", "foo[]=a", "=", "==x"])
def test_unknown_attributes_are_ignored_even_twice(line):
    """Unknown attributes of a later git are ignored, even repeated."""
    request = parse("get", f"{line}\n{line}\n{WHERE}{line}\n")

    assert Request("get", Target("web", "https", "example.com", None)) == request


@pytest.mark.parametrize(
    "host",
    [
        "GITHUB.COM",
        "github.com.",
        "github.com:443",
        "github.com:8443",
        "github.com.attacker.example",
        "xgithub.com",
        "[2001:db8::1]:8443",
        "g\u0456thub.com",
        "a b",
        "*",
    ],
)
def test_a_host_is_an_opaque_name_with_its_port(host):
    """A host is never lowercased, shortened or completed."""
    request = parse("get", f"protocol=HTTPS\nhost={host}\n")

    assert Target("web", "HTTPS", host, None) == request.target


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("path=\n", ""),
        ("path=/\n", ""),
        ("path=a.git\n", "a.git"),
        ("path=/a.git\n", "a.git"),
        ("path=//a//b/\n", "a//b/"),
        ("path=../%2e\n", "../%2e"),
        ("path=a?b#c\n", "a?b#c"),
    ],
)
def test_a_path_is_kept_but_for_the_slashes_before_it(line, expected):
    """A path typed by hand equals the path that git sends for the same URL."""
    assert expected == parse("get", WHERE + line).target.path


def test_an_empty_user_name_is_not_a_missing_one():
    """Single sign-on stores an empty user name and password, and gets them back."""
    assert parse("get", WHERE).username is None
    assert parse("get", WHERE + "username=\n").username == ""
    stored = parse("store", WHERE + "username=\npassword=\n")
    assert stored.credential.username == ""
    assert b"" == password(stored)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "username=u\n",
        "password=p\n",
        "capability[]=authtype\nauthtype=Bearer\n",
        "capability[]=authtype\ncredential=token\n",
        "capability[]=authtype\nauthtype=Bearer\ncredential=\n",
        "capability[]=authtype\nauthtype=\ncredential=token\n",
        "oauth_refresh_token=t\nusername=u\n",
    ],
)
def test_a_store_without_a_whole_credential_brings_none(lines):
    """A store with half a credential is not an error and stores nothing."""
    assert parse("store", WHERE + lines).credential is None


def test_a_get_never_keeps_a_secret():
    """A get ignores a secret in its message."""
    message = (
        f"capability[]=authtype\n{NEVER_EMPTY}"
        "authtype=Basic\ncredential=c\noauth_refresh_token=t\npassword_expiry_utc=5\n"
    )

    assert parse("get", message).credential is None


def test_a_store_brings_the_user_name_the_password_its_end_and_the_refresh_token():
    """A store keeps user name, password, expiry and refresh token."""
    request = parse(
        "store", NEVER_EMPTY + "password_expiry_utc=1999999999\noauth_refresh_token=r=1\n"
    )

    assert ("u", None, 1_999_999_999) == (
        request.credential.username,
        request.credential.authtype,
        request.credential.expires,
    )
    assert b"p" == password(request)
    assert b"r=1" == revealed(request.credential.field("oauth_refresh_token"))


@pytest.mark.parametrize("lines", ["", "username=u\n", "username=u\npassword=p\n"])
def test_an_authorization_header_wins_over_a_password(lines):
    """With authtype and credential git does not use the password, so it is not stored."""
    request = parse(
        "store", f"capability[]=authtype\nauthtype=Bearer\ncredential=token\n{WHERE}{lines}"
    )

    assert "Bearer" == request.credential.authtype
    assert b"token" == password(request)
    assert ("u" if lines else None) == request.credential.username


@pytest.mark.parametrize("key", ["authtype", "credential"])
@pytest.mark.parametrize(
    "before", ["", "capability[]=state\n", "capability[]=authtype\ncapability[]=\n"]
)
def test_an_attribute_that_needs_a_capability_is_refused_without_it(key, before):
    """An attribute that needs a capability is refused unless the capability comes before it."""
    message = f"{before}{WHERE}{key}=x\ncapability[]=authtype\n"

    assert f"{key} comes without its capability before it" == refusal("erase", message)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", None),
        ("username=u\n", None),
        ("password=p\n", b"p"),
        ("username=u\npassword=\n", b""),
        ("username=u\npassword=p\n", b"p"),
        ("capability[]=authtype\nauthtype=Bearer\ncredential=t\n", b"t"),
        ("capability[]=authtype\ncredential=t\npassword=p\n", b"t"),
    ],
)
def test_an_erase_compares_with_the_secret_that_it_brings(lines, expected):
    """An erase with a secret ends only sessions with that secret; without one it ends all."""
    assert expected == password(parse("erase", WHERE + lines))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", 1),
        ("1999999999", 1_999_999_999),
        ("000001999999999", 1_999_999_999),
        (" +12", 12),
        ("12abc", 12),
        ("12 34", 12),
        ("", None),
        ("0", None),
        ("000", None),
        ("never", None),
        ("-5", None),
        ("0x10", None),
        ("1_000", 1),
        ("\u0663", None),
        ("999999999999999999", 999_999_999_999_999_999),
        ("1000000000000000000", None),
        ("18446744073709551615", None),
        ("9" * 5000, None),
    ],
)
def test_an_expiry_is_read_as_git_reads_it(value, expected):
    """Zero, a non-number and a number that is too large mean no expiry, as in git."""
    request = parse("store", f"{NEVER_EMPTY}password_expiry_utc={value}\n")

    assert expected == request.credential.expires


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        ("true", True),
        ("Yes", True),
        ("ON", True),
        ("0", False),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("", False),
    ],
)
def test_ephemeral_is_a_boolean_of_git(value, expected):
    """`ephemeral` is understood in each of git's spellings of a boolean."""
    assert expected is parse("store", f"{NEVER_EMPTY}ephemeral={value}\n").ephemeral
    assert parse("store", NEVER_EMPTY).ephemeral is False


@pytest.mark.parametrize("value", ["maybe", "2", " ", "truee", "\u0131"])
def test_a_wish_that_nobody_understands_is_refused(value):
    """An invalid boolean is refused, because git gives up on it, too."""
    assert "ephemeral is not a boolean" in refusal("store", f"{NEVER_EMPTY}ephemeral={value}\n")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", set()),
        ("capability[]=authtype\n", {"authtype"}),
        ("capability[]=authtype\ncapability[]=state\n", {"authtype", "state"}),
        ("capability[]=state\ncapability[]=state\n", {"state"}),
        ("capability[]=Authtype\ncapability[]=authtype \ncapability[]=x\n", set()),
        ("capability[]=authtype\ncapability[]=\ncapability[]=state\n", {"state"}),
        ("capability=authtype\n", set()),
    ],
)
def test_only_the_capabilities_that_are_known_here_count(lines, expected):
    """An unknown capability is ignored, and an empty one resets the list."""
    assert expected == parse("get", lines + WHERE).capabilities


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"capability[]=state\nstate[]=keylease:{SESSION}\n", (SESSION,)),
        (
            "capability[]=state\nstate[]=other:1\n"
            + "".join(f"state[]=keylease:{session}\n" for session in (SESSION, "a" * 32)),
            (SESSION, "a" * 32),
        ),
        (f"capability[]=state\nstate[]=keylease:{SESSION}\nstate[]=\n", ()),
        (f"state[]=keylease:{SESSION}\ncapability[]=state\n", ()),
        (f"state[]=keylease:{SESSION}\n", ()),
        (f"capability[]=state\nstate[]=keylease:{SESSION}0\n", ()),
        (f"capability[]=state\nstate[]=keylease:{SESSION[1:]}\n", ()),
        (f"capability[]=state\nstate[]=keylease:{SESSION.upper()}\n", ()),
        (f"capability[]=state\nstate[]=Keylease:{SESSION}\n", ()),
        (f"capability[]=state\nstate[]=osxkeychain:seen={SESSION}\n", ()),
        (f"capability[]=state\nstate[]={SESSION}\n", ()),
        ("capability[]=state\nstate[]=keylease:\n", ()),
        ("capability[]=state\nstate[]=keylease:" + "\udcff" * 32 + "\n", ()),
    ],
)
def test_only_our_own_state_is_taken_for_an_echo(lines, expected):
    """Other helpers' state and malformed ids are ignored without an error."""
    assert expected == parse("store", lines + NEVER_EMPTY).echoes


# --- url --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target", "username", "secret"),
    [
        ("https://example.com", ("https", "example.com", None), None, None),
        ("https://example.com/", ("https", "example.com", None), None, None),
        ("https://example.com:8443/a.git", ("https", "example.com:8443", "a.git"), None, None),
        ("https://u@example.com/a/b//", ("https", "example.com", "a/b"), "u", None),
        ("https://h/a/", ("https", "h", "a"), None, None),
        ("https://h/a/b/", ("https", "h", "a/b"), None, None),
        ("https://u:p@example.com///a", ("https", "example.com", "a"), "u", b"p"),
        ("https://u%40x:p%3A%25@h", ("https", "h", None), "u@x", b"p:%"),
        ("https://u:a:b@h", ("https", "h", None), "u", b"a:b"),
        ("https://:@h", ("https", "h", None), "", b""),
        ("https://@h", ("https", "h", None), "", None),
        ("https://h/u@v", ("https", "h", "u@v"), None, None),
        ("https://h?q/a", ("https", "h", "?q/a"), None, None),
        ("https://h#f", ("https", "h", "#f"), None, None),
        ("https://h/%zz%4", ("https", "h", "%zz%4"), None, None),
        ("https://h/%41:%41", ("https", "h", "%41:A"), None, None),
        ("https://[fe80::1%25eth0]:8443/", ("https", "[fe80::1%eth0]:8443", None), None, None),
        ("https://h/%ff", ("https", "h", "\udcff"), None, None),
    ],
)
def test_a_url_is_taken_apart_as_git_does(url, target, username, secret):
    """`url=` typed at the helper means what git would understand."""
    request = parse("erase", f"url={url}\n")
    cut_off = parse("erase", f"url={url}")

    assert request.target == cut_off.target
    assert Target("web", *target) == request.target
    assert username == request.username
    assert secret == password(request)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "://example.com",
        "https:/example.com",
        "https://",
        "https:///path",
        "https://u:p@/path",
        "https://evil%0ahost=github.com",
        "https://github.com%0d",
        "https://github.com%00.evil.example",
        "https://h/%0a",
        "https://h/%7F",
        "https://u%0a@h",
        "https://u:p%0aq@h",
        "https://u:p%00@h",
        "https://u:p%0D@h",
        "ht\x1btps://h",
    ],
)
def test_a_url_that_hides_a_line_or_has_no_host_is_refused(url):
    """Characters hidden by percent-encoding are checked after decoding."""
    assert refusal("store", f"url={url}\n")


@pytest.mark.parametrize(
    "message",
    [
        "host=github.com\nurl=https://evil.example\n",
        "username=u\nurl=https://example.com\n",
        "url=https://evil.example\nhost=github.com\n",
        "url=https://evil.example\nprotocol=http\n",
        "url=https://u@example.com\nusername=v\n",
        "url=https://u:p@example.com\npassword=q\n",
        "url=https://example.com/a\npath=b\n",
        "url=https://example.com\nurl=https://example.com\n",
    ],
)
def test_a_url_and_a_part_of_it_are_a_duplicate(message):
    """A URL together with its own part, such as the host, is refused as a duplicate."""
    assert refusal("get", message)


def test_what_a_url_leaves_out_may_follow_it():
    """A URL without a user name may be followed by the user name."""
    request = parse("store", "url=https://example.com\nusername=u\npassword=p\n")

    assert "u" == request.username
    assert b"p" == password(request)


# --- the message as memory --------------------------------------------------------------------


def test_the_message_is_read_in_place_and_can_be_wiped_afterwards():
    """The caller's buffer is neither changed nor held, and the secret is a separate copy."""
    message = bytearray(NEVER_EMPTY.encode())

    request = git.parse(call("store", message))

    assert NEVER_EMPTY.encode() == message
    gc.collect()
    message[:] = b"\0" * len(message)
    message.clear()  # raises BufferError while a view of it exists
    assert b"p" == password(request)


def test_a_memoryview_is_as_good_as_a_bytearray():
    """A message in locked memory is understood in the same way."""
    buffer = bytearray(b"xx" + NEVER_EMPTY.encode())

    request = git.parse(call("store", memoryview(buffer)[2:]))

    assert "example.com" == request.target.host
    assert b"p" == password(request)


@pytest.mark.parametrize("end", ["\n", "\nhost=h\n", "\0\n", "/%0a\n"])
def test_the_copies_that_reading_makes_are_wiped(monkeypatch, end):
    """The parts of a URL are wiped after reading, whether refused or not."""
    wiped = []

    def spy(buffer):
        before = bytes(buffer)
        secure_clear(buffer)
        wiped.append((before, bytes(buffer)))

    monkeypatch.setattr(git, "secure_clear", spy)
    message = f"url=https://u:hunt%65r2%09@example.com{end}".encode()

    with contextlib.suppress(RequestError):
        git.parse(call("store", memoryview(message)))

    expected = set() if "\0" in end else {b"hunter2\t"}
    assert expected <= {before for before, _ in wiped}
    assert all(not any(after) for _, after in wiped)


def test_a_refusal_never_repeats_what_the_peer_sent():
    """A refused message may have a secret in the wrong place, so no error shows any part of it."""
    canary = "canary-7d1c"
    messages = [
        f"{canary}\n",
        f"{WHERE}password={canary}\npassword={canary}\n",
        f"{WHERE}{canary}\x01={canary}\n",
        f"{WHERE}password={canary}\0\n",
        f"{WHERE}credential={canary}\n",
        f"{WHERE}username={canary}\x01\n",
        f"url={canary}\n",
        f"url=https://{canary}:{canary}%0a@h\n",
        f"username={canary}\nurl=https://{canary}@h\n",
        f"{WHERE}password={canary}{'x' * 70_000}\n",
    ]

    for message in messages:
        assert canary not in refusal("store", message)


@pytest.mark.parametrize(
    ("action", "message", "expected"),
    [
        ("get", b"", False),
        ("get", b"protocol=https\nhost=h\n", False),
        ("get", b"protocol=https\r\nhost=h\r\n", False),
        ("get", b"protocol=https\nhost=h\n\n", True),
        ("get", b"protocol=https\nhost=h\n\nmore", True),
        ("get", b"protocol=https\r\nhost=h\r\n\r\n", True),
        ("store", b"\n", True),
        ("erase", b"\r\n", True),
        ("capability", b"", True),
        ("list", b"", True),
    ],
)
def test_reading_ends_with_the_blank_line(action, message, expected):
    """A peer that keeps its end of the pipe open is answered at the blank line."""
    assert expected is git.complete(call(action, bytearray(message)))


# --- answers ----------------------------------------------------------------------------------


def test_an_answer_is_the_user_name_and_the_password_and_nothing_else():
    """An old git gets only user name and password, never a protocol, host or path."""
    assert b"username=bob\npassword=hunter2\n" == rendered(answer())


def test_an_empty_user_name_is_said_and_a_missing_one_is_not():
    """Single sign-on gets its empty user name back; a missing one is not sent."""
    assert b"username=\npassword=\n" == rendered(answer("", b""))
    assert b"password=hunter2\n" == rendered(answer(None))


@pytest.mark.parametrize("action", ["store", "erase", "ignore"])
def test_only_a_get_is_answered(action):
    """git reads nothing after store and erase, so the helper writes nothing."""
    assert b"" == said(Request(action), answer())


def test_a_miss_is_silent():
    """Without a session there is no answer, and git asks the next helper."""
    request = Request("get", answer().session.target, capabilities=BOTH)

    assert b"" == said(request, None)


def test_everything_is_said_to_a_git_that_announced_everything():
    """The answer lists the capabilities first, then credential, expiry, state and ephemeral."""
    reply = answer(fields=(("oauth_refresh_token", Secret(b"refresh")),), ends=1_800_000_000)

    expected = (
        b"capability[]=authtype\n"
        b"capability[]=state\n"
        b"username=bob\n"
        b"password=hunter2\n"
        b"password_expiry_utc=1800000000\n"
        b"oauth_refresh_token=refresh\n"
        b"ephemeral=1\n"
        b"state[]=keylease:" + SESSION.encode() + b"\n"
    )

    assert expected == rendered(reply, "authtype", "state")


def test_only_what_was_announced_is_said():
    """A git that only announced `state` does not get `ephemeral`, and the other way round."""
    assert (
        b"capability[]=state\nusername=bob\npassword=hunter2\npassword_expiry_utc=2000000000\n"
        b"state[]=keylease:" + SESSION.encode() + b"\n"
    ) == rendered(answer(), "state")
    assert (
        b"capability[]=authtype\nusername=bob\npassword=hunter2\n"
        b"password_expiry_utc=2000000000\nephemeral=1\n"
    ) == rendered(answer(), "authtype")


def test_an_authorization_header_is_said_to_a_git_that_can_use_it():
    """The header's type and value replace the password; the user name is kept if there is one."""
    reply = answer(None, b"token", authtype="Bearer")

    expected = (
        b"capability[]=authtype\nauthtype=Bearer\ncredential=token\n"
        b"password_expiry_utc=2000000000\nephemeral=1\n"
    )

    assert expected == rendered(reply, "authtype")
    assert b"username=u\nauthtype=Bearer\n" in rendered(
        answer("u", b"t", authtype="Bearer"), "authtype"
    )


@pytest.mark.parametrize("capabilities", [(), ("state",)])
def test_an_authorization_header_is_never_said_as_a_password(capabilities):
    """A git that did not announce authtype gets no header: it would send it as a password."""
    reply = answer("u", b"token", authtype="Bearer")

    with pytest.raises(RequestError, match="git did not announce authtype"):
        rendered(reply, *capabilities)


@pytest.mark.parametrize(
    ("expires", "capabilities", "expected"),
    [
        (None, (), None),
        (None, ("state",), 2_000_000_000),
        (None, ("authtype",), 2_000_000_000),
        (1_900_000_000, (), 1_900_000_000),
        (2_100_000_000, (), 2_100_000_000),
        (1_900_000_000, ("state",), 1_900_000_000),
        (2_100_000_000, ("state",), 2_000_000_000),
    ],
)
def test_the_sessions_end_is_said_only_to_whoever_announced_a_capability(
    expires, capabilities, expected
):
    """Old gits get the credential's own expiry, newer ones the earlier of the two ends."""
    lines = rendered(answer(expires=expires), *capabilities).decode().splitlines()

    said = [line for line in lines if line.startswith("password_expiry_utc=")]

    assert ([] if expected is None else [f"password_expiry_utc={expected}"]) == said


@pytest.mark.parametrize("mark", [b"\n", b"\r", b"\0"])
@pytest.mark.parametrize("where", ["username", "secret", "authtype", "token"])
def test_a_value_that_would_break_its_line_is_never_said(mark, where):
    """Stored values are checked again: one newline would let an attacker name another host."""
    bad = b"x" + mark + b"host=evil.example"
    reply = answer(
        bad.decode() if where == "username" else "bob",
        bad if where == "secret" else b"hunter2",
        authtype=bad.decode() if where == "authtype" else "Bearer",
        fields=(("oauth_refresh_token", Secret(bad if where == "token" else b"t")),),
    )

    with pytest.raises(RequestError) as caught:
        rendered(reply, "authtype")

    assert "evil" not in str(caught.value)


def test_a_name_that_is_no_bytes_is_never_said():
    """A name with half a surrogate pair has no bytes and is refused."""
    with pytest.raises(RequestError, match="half a character"):
        rendered(answer("\ud800"))


def test_a_line_is_no_longer_than_git_allows():
    """A password that fills a line of 65535 bytes is sent, a longer one is refused."""
    longest = b"x" * (65_535 - len("password=\n"))

    assert b"username=bob\npassword=" + longest + b"\n" == rendered(answer(secret=longest))
    with pytest.raises(RequestError, match="password is too long"):
        rendered(answer(secret=longest + b"x"))


def test_bytes_that_are_not_utf_8_are_said_as_they_were_stored():
    """Latin-1 bytes are sent exactly as they were stored."""
    assert b"username=\xe4\npassword=\xff\xfe\n" == rendered(answer("\udce4", b"\xff\xfe"))


def test_the_answer_has_no_copy_of_the_secret():
    """The answer is the credential's own memory: wiping that wipes the answer."""
    reply = answer()

    parts = git.render(Request("get", reply.session.target), reply)

    assert b"username=bob\npassword=hunter2\n" == b"".join(parts)
    reply.credential.wipe()
    assert b"username=bob\npassword=" + bytes(7) + b"\n" == b"".join(parts)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SessionEndedError("the session ended", "idle"), 0),
        (RequestError("the request has no host"), 1),
        (KeychainUnavailableError("the keychain is locked"), 1),
        (VaultRevokedError("the vault key is gone"), 1),
    ],
)
def test_a_refusal_says_nothing_to_git_and_the_reason_to_people(error, code):
    """git gets no answer; a terminal gets the error and what to do next."""
    refused = git.refuse(error)

    assert b"" == refused.reply
    assert f"keylease: error: {error}\nkeylease: hint: {error.hint}\n" == refused.message
    assert code == refused.exit_code


def test_a_plain_miss_says_nothing_to_anybody():
    """A plain miss prints nothing: git asks its user next, as without a helper."""
    refused = git.refuse(SessionNotFoundError("there is no session for https://example.com"))

    assert Refusal(b"", "", 0) == refused


def test_an_error_without_a_hint_has_one_line():
    """An error without a hint prints one line and no empty hint."""
    assert "keylease: error: x\n" == git.refuse(RequestError("x", "")).message


def test_a_refusal_cannot_drive_a_terminal():
    """Host names come from strangers, so a terminal sees control characters as escapes."""
    host = "a\x1b[2J\n\u202eb\udcff\x9bc"

    refused = git.refuse(SessionEndedError(f"no session for {host}", "idle"))

    assert 2 == len(refused.message.splitlines())
    assert (
        r"keylease: error: no session for a\x1b[2J\n\u202eb\udcff\x9bc"
        == refused.message.splitlines()[0]
    )
