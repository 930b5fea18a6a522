"""A client that behaves like Bazel, because no Bazel with credential helpers can be installed.

Its behaviour follows EngFlow's specification and Bazel's CredentialHelper, Provider and
CredentialCacheExpiry; see `ask`. Where uv is installed, the client is also tested with uv's helper
of the same protocol.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import ssl
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, wait_until
from support.web_server import Answer, Asked, WebServer, make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("it needs the kernel keyring", allow_module_level=True)

USERNAME, PASSWORD = "ada", "correct-horse-battery"
ENCODED = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
_SECONDS = 10


class HelperError(Exception):
    """The error that stops a build, in Bazel's words."""


class Told(NamedTuple):
    """The answer of a helper."""

    headers: Mapping[str, list[str]]
    expires: dt.datetime | None


def ask(home: Throwaway, uri: str, *helper: str) -> Told:
    """Ask a helper as Bazel does: one argument, one JSON text in, one out, ten seconds."""
    done = home.run(*helper, stdin=json.dumps({"uri": uri}), timeout_seconds=_SECONDS)
    if done.returncode != 0:
        msg = f"process exited with code {done.returncode}. stderr: {done.stderr}"
        raise HelperError(msg)
    said = json.loads(done.stdout)
    expires = said.get("expires")
    moment = None if expires is None else dt.datetime.strptime(expires, "%Y-%m-%dT%H:%M:%S%z")
    headers = said.get("headers", {})
    assert all(isinstance(value, str) for values in headers.values() for value in values)
    return Told(headers, moment)


class Client:
    """Download with the headers from the helper, and ask it again only after they expire."""

    def __init__(self, home: Throwaway, certificate: Path) -> None:
        self._home = home
        self._context = ssl.create_default_context(cafile=str(certificate))
        self._cache: dict[str, Told] = {}

    def fetch(self, uri: str) -> int:
        """Return the status of the server's answer."""
        held = self._cache.get(uri)
        if held is None or (held.expires and held.expires <= dt.datetime.now(dt.UTC)):
            held = self._cache[uri] = ask(self._home, uri, "keylease-bazel", "get")
        request = urllib.request.Request(uri)
        for name, values in held.headers.items():
            for value in values:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self._context) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


class Rig(NamedTuple):
    """A home, a server of downloads, and their client."""

    home: Throwaway
    server: WebServer
    certificate: Path

    def login(self) -> None:
        """Start a session for the server."""
        words = ("login", "--password-stdin", "--username", USERNAME, self.server.url)
        done = self.home.run("keylease", *words, stdin=PASSWORD)
        assert done.returncode == 0, done.stderr

    def client(self) -> Client:
        """Return a newly started Bazel server."""
        return Client(self.home, self.certificate)

    def released(self) -> int:
        """Return how many releases of the password the log has."""
        return [line["event"] for line in self.home.audit()].count("session.released")


def downloads(asked: Asked) -> Answer:
    """Serve files to one user."""
    known = asked.authorization == f"Basic {ENCODED}"
    return Answer(HTTPStatus.OK if known else HTTPStatus.UNAUTHORIZED)


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home and a server."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    with WebServer(downloads, certificate) as server:
        yield Rig(kernel_home, server, certificate)


def test_a_build_is_answered_from_the_session(rig: Rig) -> None:
    """The server refuses before the login and answers after it, and no file has the password."""
    uri = f"{rig.server.url}/rules.tgz"
    before = rig.client().fetch(uri)
    rig.login()
    first, second = rig.client().fetch(uri), rig.client().fetch(uri)

    assert (401, 200, 200) == (before, first, second)
    assert 2 == rig.released()
    assert [] == holders(rig.home, PASSWORD, ENCODED)


def test_plaintext_would_be_found(rig: Rig) -> None:
    """The control of the search: without a helper users write the password to ~/.netrc."""
    (rig.home.home / ".netrc").write_text(f"machine h login u password {PASSWORD}", "utf-8")

    assert [".netrc"] == holders(rig.home, PASSWORD)


def test_an_answer_is_kept_until_it_expires_and_no_longer(rig: Rig) -> None:
    """An active build rolls its session: it asks again before the idle end, not for each file."""
    rig.home.environment["KEYLEASE_IDLE_TIMEOUT"] = "4"
    rig.login()
    client, uri = rig.client(), f"{rig.server.url}/rules.tgz"

    assert {200} == {client.fetch(uri) for _ in range(3)}
    assert 1 == rig.released()
    wait_until(lambda: client.fetch(uri) != HTTPStatus.OK or rig.released() > 3)

    assert 200 == client.fetch(uri), "the session would have ended 4 seconds after its first use"


def test_an_ended_session_is_a_server_that_needs_nothing(rig: Rig) -> None:
    """After the end the helper sends no headers, and the server refuses in its own words."""
    rig.home.environment |= ENDS_SOON
    rig.login()
    uri = f"{rig.server.url}/rules.tgz"

    wait_until(lambda: rig.client().fetch(uri) == HTTPStatus.UNAUTHORIZED)

    assert Told({}, None) == ask(rig.home, uri, "keylease-bazel", "get")


def test_a_logout_is_the_end(rig: Rig) -> None:
    """Bazel has no logout; `keylease logout` ends the session."""
    rig.login()
    uri = f"{rig.server.url}/rules.tgz"
    assert 200 == rig.client().fetch(uri)

    rig.home.run("keylease", "logout", rig.server.url)

    assert 401 == rig.client().fetch(uri)


def test_what_is_no_miss_stops_the_build_with_its_reason(rig: Rig) -> None:
    """Bazel's own error tells of an unreachable keychain, and of a URI without TLS."""
    rig.login()
    with pytest.raises(HelperError, match="only by https"):
        ask(rig.home, "http://127.0.0.1/", "keylease-bazel", "get")
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    with pytest.raises(HelperError, match="keylease: error: "):
        rig.client().fetch(rig.server.url)


@pytest.mark.usefixtures("usual_umask")
def test_another_helper_of_the_protocol_is_understood(rig: Rig) -> None:
    """The control of the client: without a session it reads uv's answer exactly as ours."""
    helper = (find_client("uv"), "auth", "helper", "--preview-features", "auth-helper")
    try:
        told = ask(rig.home, f"{rig.server.url}/x", *helper, "--protocol=bazel", "get")
    except HelperError as error:
        pytest.skip(f"uv: this one has no helper: {error}")

    assert told == ask(rig.home, f"{rig.server.url}/x", "keylease-bazel", "get")
