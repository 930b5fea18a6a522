"""The server in a URL, and the Authorization header for a credential."""

import base64

import pytest

from keylease.errors import RequestError, UsageError
from keylease.model import Credential, Target
from keylease.protocols.http import authorization, https_target, split
from keylease.secrets.secret import Secret


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://server.example", ("https", "server.example", "")),
        ("http://127.0.0.1:8200/", ("http", "127.0.0.1:8200", "")),
        ("https://[::1]:8443/a//b/", ("https", "[::1]:8443", "a//b")),
        ("https://server.example/a/b?go-get=1", ("https", "server.example", "a/b")),
        ("https://server.example?x", ("https", "server.example", "")),
        ("https://server.example#@evil.example/", ("https", "server.example", "")),
        ("https://Server.Example:0443", ("https", "Server.Example:0443", "")),
    ],
)
def test_a_url_names_one_server(url, expected):
    """Scheme, host and port stay as written; slashes around the path are removed."""
    assert expected == split(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "server.example",
        "ftp://server.example",
        "https://",
        "https:///path",
        "https://:443",
        "https://server.example:port",
        "https://server.example:123456",
        "https://bob:hunter2@server.example",
        "https://server.example\\@evil.example",
        "https://server%2eexample",
        "https://server.example/a b",
        "https://server.example/\n",
        "https://server.example\u2028/",
        "https://[::1",
        "https://a]b",
        "unix:///run/vault.sock",
    ],
)
def test_what_could_be_two_servers_is_refused_and_not_repeated(url):
    """A URL that two readers could take for two servers is refused, and its password not shown."""
    with pytest.raises(UsageError) as caught:
        split(url)

    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("length", range(1, 9))
def test_user_and_password_are_basic_authentication(length):
    """User and password of any length make the header of RFC 7617."""
    password = bytes(range(0xF0, 0xF0 + length))
    header = authorization(Credential("bob", Secret(password)))

    assert b"Basic " + base64.b64encode(b"bob:" + password) == header


def test_a_token_without_a_user_is_a_bearer_token():
    """No user gives a bearer token; an empty user does not."""
    assert b"Bearer t.o/k+e~n==" == authorization(Credential(None, Secret(b"t.o/k+e~n==")))
    assert b"Basic OnQ=" == authorization(Credential("", Secret(b"t")))


def test_what_was_stored_encoded_is_said_as_it_is():
    """git may store a header's value with its scheme; it is sent unchanged."""
    encoded = Credential("bob", Secret(b'nonce="x", y'), "Digest")

    assert b'Digest nonce="x", y' == authorization(encoded)


@pytest.mark.parametrize(
    "credential",
    [
        Credential(None, Secret(b"two words")),
        Credential(None, Secret(b"a\r\nX-Evil: 1")),
        Credential(None, Secret(b"")),
        Credential(None, Secret(b"\xff")),
        Credential("b:ob", Secret(b"x")),
        Credential("b\nob", Secret(b"x")),
        Credential("bob", Secret(b"x\0")),
        Credential("bob", Secret(b"x\n"), "Basic"),
        Credential("bob", Secret(b"x"), "Ba sic"),
        Credential("bob", Secret(b"x"), ""),
    ],
)
def test_no_credential_can_add_a_header(credential):
    """A credential that could add a header or move the colon of its user name is refused."""
    with pytest.raises(RequestError):
        authorization(credential)


def test_a_credential_is_for_https_alone():
    """A server named without its scheme gets https, and one named with http is refused."""
    assert Target("web", "https", "server.example", "a") == https_target("server.example/a/")
    assert Target("web", "https", "server.example") == https_target("https://server.example")
    with pytest.raises(UsageError, match="only by https"):
        https_target("http://server.example")
