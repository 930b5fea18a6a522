"""The go command against a module mirror with TLS that checks passwords."""

from __future__ import annotations

import base64
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, set_up, wait_until
from support.web_server import Answer, Asked, WebServer, make_certificate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("SSL_CERT_FILE is what Go reads on Linux", allow_module_level=True)

USERNAME, PASSWORD = "ada", "correct-horse-battery"
MODULE = {
    "list": b"v1.0.0\n",
    "v1.0.0.info": b'{"Version":"v1.0.0"}',
    "v1.0.0.mod": b"module example.com/secret\n",
}
ENCODED = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()


def mirror(asked: Asked) -> Answer:
    """Serve one module as a mirror, to one user."""
    if asked.authorization != f"Basic {ENCODED}":
        return Answer(HTTPStatus.UNAUTHORIZED)
    body = MODULE.get(asked.path.removeprefix("/example.com/secret/@v/"))
    return Answer(HTTPStatus.NOT_FOUND) if body is None else Answer(HTTPStatus.OK, body=body)


class Rig(NamedTuple):
    """A home where Go asks keylease, and Go's mirror."""

    home: Throwaway
    server: WebServer
    program: str

    def login(self) -> None:
        """Start a session for the mirror."""
        words = ("login", "--password-stdin", "--username", USERNAME, self.server.url)
        done = self.home.run("keylease", *words, stdin=PASSWORD)
        assert done.returncode == 0, done.stderr

    def versions(self) -> subprocess.CompletedProcess[str]:
        """Ask Go for the versions of the module."""
        return self.home.run(self.program, "list", "-m", "-versions", "example.com/secret")

    def released(self) -> int:
        """Return how many releases of the password the log has."""
        return [line["event"] for line in self.home.audit()].count("session.released")


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home with Go, and a mirror."""
    program = find_client("go")
    certificate = make_certificate(tmp_path / "certificate.pem")
    with WebServer(mirror, certificate) as server:
        kernel_home.environment |= {
            "GOPROXY": server.url,
            "GOSUMDB": "off",
            "GOTOOLCHAIN": "local",
            "GOTELEMETRY": "off",
            "SSL_CERT_FILE": str(certificate),
        }
        set_up(kernel_home, "go")
        yield Rig(kernel_home, server, program)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: without a helper users write the password to ~/.netrc."""
    set_up(rig.home, "go", "--undo")
    netrc = rig.home.home / ".netrc"
    netrc.write_text(f"machine {rig.server.host} login {USERNAME} password {PASSWORD}\n", "utf-8")

    done = rig.versions()

    assert "example.com/secret v1.0.0\n" == done.stdout, done.stderr
    assert [".netrc"] == holders(rig.home, PASSWORD)


def test_go_is_answered_from_the_session(rig: Rig) -> None:
    """Go is refused before the login and answered after it, and no file has the password."""
    before = rig.versions()
    rig.login()
    first, second = rig.versions(), rig.versions()

    assert "401 Unauthorized" in before.stderr
    assert "example.com/secret v1.0.0\n" == first.stdout, first.stderr
    assert first.stdout == second.stdout
    assert 2 == rig.released(), "once for each go: its first call is answered with nothing"
    assert [] == holders(rig.home, PASSWORD, ENCODED)


def test_go_is_answered_from_the_path_that_it_fetches(rig: Rig) -> None:
    """A newer login to another path of the server is not what Go gets."""
    for path, password in (("example.com", PASSWORD), ("other", "wrong")):
        words = ("--password-stdin", "--username", USERNAME, f"{rig.server.url}/{path}")
        done = rig.home.run("keylease", "login", *words, stdin=password)
        assert done.returncode == 0, done.stderr

    answered = rig.versions()

    assert "example.com/secret v1.0.0\n" == answered.stdout, answered.stderr


def test_an_ended_session_is_a_server_that_refuses(rig: Rig) -> None:
    """After the end Go shows the server's refusal."""
    rig.home.environment |= ENDS_SOON
    rig.login()

    wait_until(lambda: rig.versions().returncode != 0)

    assert "401 Unauthorized" in rig.versions().stderr
    assert "session.ended" in [line["event"] for line in rig.home.audit()]


def test_a_logout_is_the_end(rig: Rig) -> None:
    """Go has no logout; `keylease logout` ends the session."""
    rig.login()
    assert rig.versions().returncode == 0

    rig.home.run("keylease", "logout", rig.server.url)

    assert "401 Unauthorized" in rig.versions().stderr


def test_a_keychain_that_cannot_be_reached_is_told_by_go_x(rig: Rig) -> None:
    """`go -x` shows why its command for credentials failed."""
    rig.login()
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.home.run(rig.program, "list", "-x", "-m", "-versions", "example.com/secret")

    assert done.returncode != 0
    assert "keylease: error: " in done.stderr
