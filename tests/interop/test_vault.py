"""OpenBao's client against its own server, in its development mode."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, set_up, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.throwaway import Throwaway

if sys.platform == "win32":
    pytest.skip("the helper is run by a shell", allow_module_level=True)

ROOT = "root-correct-horse-battery"
_SECONDS = 60


class Rig(NamedTuple):
    """A home where the client asks keylease, and the server."""

    home: Throwaway
    program: str

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the client."""
        return self.home.run(self.program, *words, stdin=stdin)

    def login(self) -> subprocess.CompletedProcess[str]:
        """Log in with the client, or fail."""
        done = self.run("login", "-no-print", "-", stdin=ROOT)
        assert done.returncode == 0, done.stderr
        return done

    def lookup(self) -> subprocess.CompletedProcess[str]:
        """Ask the server about the client's own token."""
        return self.run("token", "lookup", "-format=json")

    def events(self) -> list[str]:
        """Return the events in the audit log, oldest first."""
        return [line["event"] for line in self.home.audit()]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that accepts one token."""
    program, root = find_client("bao"), tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    words = ("server", "-dev", "-dev-no-store-token", f"-dev-listen-address={host}")
    environment = {"HOME": str(root), "BAO_DEV_ROOT_TOKEN_ID": ROOT, "PATH": "/usr/bin:/bin"}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([program, *words], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"the server does not answer: {(root / 'log').read_text()[-500:]}"
                raise RuntimeError(msg)
            time.sleep(0.05)
        yield f"http://{host}"
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _answers(host: str) -> bool:
    name, _, port = host.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((name, int(port))) == 0


@pytest.fixture
def rig(kernel_home: Throwaway, address: str) -> Rig:
    """Return a home where the client's helper is keylease."""
    program = find_client("bao")
    path = f"{kernel_home.environment['PATH']}:{Path(program).parent}"
    kernel_home.environment |= {"BAO_ADDR": address, "SHELL": "/bin/sh", "PATH": path}
    set_up(kernel_home, "vault")
    return Rig(kernel_home, program)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: without a helper the client writes the token into a file."""
    set_up(rig.home, "vault", "--undo")

    rig.login()

    assert [".vault-token"] == holders(rig.home, ROOT)


def test_a_login_is_kept_and_found_again(rig: Rig) -> None:
    """The client is refused before the login and answered after it, and no file has the token."""
    before = rig.lookup()
    rig.login()
    first, second = rig.lookup(), rig.lookup()

    assert "403" in before.stderr or "missing client token" in before.stderr
    assert ROOT == json.loads(first.stdout)["data"]["id"], first.stderr
    assert ROOT == json.loads(second.stdout)["data"]["id"], second.stderr
    assert "session.created" in rig.events()
    assert "session.released" == rig.events()[-1]
    assert [] == holders(rig.home, ROOT)


def test_the_token_is_for_that_server_alone(rig: Rig, address: str) -> None:
    """The token goes to its own server, not to another one named with `-address`."""
    rig.login()

    other = rig.run("token", "lookup", f"-address={address.replace('127.0.0.1', 'localhost')}")

    assert other.returncode != 0
    assert "403" in other.stderr or "missing client token" in other.stderr


def test_an_ended_session_is_no_token(rig: Rig) -> None:
    """After the end the client is refused as if it had never logged in."""
    rig.home.environment |= ENDS_SOON
    rig.login()

    wait_until(lambda: rig.lookup().returncode != 0)

    assert "403" in rig.lookup().stderr or "missing client token" in rig.lookup().stderr
    assert "session.ended" in rig.events()


def test_an_erased_token_is_gone(rig: Rig) -> None:
    """The client never erases a token by itself; its helper and keylease both can."""
    rig.login()
    assert rig.lookup().returncode == 0

    erased = rig.home.run("keylease-vault", "erase")

    assert (0, "", "") == (erased.returncode, erased.stdout, erased.stderr)
    assert rig.lookup().returncode != 0


def test_a_keychain_that_cannot_be_reached_is_told(rig: Rig) -> None:
    """The client stops and shows the reason, and does not continue without a token."""
    rig.login()
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.lookup()

    assert done.returncode != 0
    assert "keylease: error: " in done.stderr
