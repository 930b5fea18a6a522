"""pnpm against a registry that checks tokens."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, set_up, wait_until
from support.web_server import Answer, Asked, WebServer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.throwaway import Throwaway

if sys.platform == "win32":
    pytest.skip("pnpm takes no backslash in the path of a tokenHelper", allow_module_level=True)

TOKEN = "npm_correct-horse-battery"


def package() -> bytes:
    """Return the package, which has one file."""
    packed = io.BytesIO()
    manifest = b'{"name":"secret","version":"1.0.0"}'
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(manifest)
        file.addfile(entry, io.BytesIO(manifest))
    return packed.getvalue()


PACKAGE = package()


def registry(asked: Asked) -> Answer:
    """Serve a private registry of one package, for one token."""
    if asked.authorization != f"Bearer {TOKEN}":
        return Answer(HTTPStatus.UNAUTHORIZED, body=b"{}")
    if asked.path == "/secret/-/secret-1.0.0.tgz":
        return Answer(HTTPStatus.OK, body=PACKAGE, kind="application/octet-stream")
    if asked.path != "/secret":
        return Answer(HTTPStatus.NOT_FOUND, body=b"{}")
    digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    url = f"http://{asked.host}/secret/-/secret-1.0.0.tgz"
    version = {
        "name": "secret",
        "version": "1.0.0",
        "dist": {"tarball": url, "integrity": f"sha512-{digest}"},
    }
    document = {"name": "secret", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    return Answer(HTTPStatus.OK, body=json.dumps(document).encode())


class Rig(NamedTuple):
    """A home where pnpm asks keylease, and the registry of its packages."""

    home: Throwaway
    server: WebServer
    program: str

    def login(self) -> None:
        """Start a session for the registry."""
        words = ("login", "--tool", "pnpm", "--password-stdin", self.server.url)
        done = self.home.run("keylease", *words, stdin=TOKEN)
        assert done.returncode == 0, done.stderr

    def install(self, project: str) -> subprocess.CompletedProcess[str]:
        """Install the package into a new project, with a new request to the registry."""
        directory = self.home.home / project
        directory.mkdir()
        (directory / "package.json").write_text('{"dependencies":{"secret":"1.0.0"}}', "utf-8")
        store = f"--store-dir={directory / 'store'}"
        self.home.environment["XDG_CACHE_HOME"] = str(directory / "cache")
        words = ("--dir", str(directory), "install", store, "--config.fetch-retries=0")
        return self.home.run(self.program, *words)

    def events(self) -> list[str]:
        """Return the events in the audit log, oldest first."""
        return [line["event"] for line in self.home.audit()]


@pytest.fixture
def rig(kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home with pnpm, set up, and a registry."""
    program = find_client("pnpm")
    with WebServer(registry) as server:
        (kernel_home.home / ".npmrc").write_text(f"registry={server.url}/\n", "utf-8")
        set_up(kernel_home, "pnpm", server.url)
        yield Rig(kernel_home, server, program)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: without a helper the token is in ~/.npmrc."""
    lines = f"registry={rig.server.url}/\n//{rig.server.host}/:_authToken={TOKEN}\n"
    (rig.home.home / ".npmrc").write_text(lines, "utf-8")

    assert rig.install("project").returncode == 0
    assert [".npmrc"] == holders(rig.home, TOKEN)


def test_pnpm_is_answered_from_the_session(rig: Rig) -> None:
    """pnpm is refused before the login and answered after it, and no file has the token."""
    before = rig.install("before")
    rig.login()
    first, second = rig.install("first"), rig.install("second")

    assert "Unauthorized - 401" in before.stderr
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert (rig.home.home / "second" / "node_modules" / "secret" / "package.json").exists()
    assert "session.released" == rig.events()[-1]
    assert [] == holders(rig.home, TOKEN)


def test_an_ended_session_is_a_registry_that_refuses(rig: Rig) -> None:
    """After the end pnpm shows the registry's refusal, and its helper says why."""
    rig.home.environment |= ENDS_SOON
    rig.login()
    helper = ("keylease-pnpm", rig.server.url)

    wait_until(lambda: rig.home.run(*helper).returncode != 0)
    refused, told = rig.install("project"), rig.home.run(*helper)

    assert "Unauthorized - 401" in refused.stderr
    assert "No authorization header was set" in refused.stderr
    assert f"keylease login --tool pnpm {rig.server.url}" in told.stderr
    assert "session.ended" in rig.events()


def test_a_logout_is_the_end(rig: Rig) -> None:
    """`pnpm logout` has no login of its own to end; `keylease logout` ends the session."""
    rig.login()
    assert rig.install("before").returncode == 0

    done = rig.home.run("keylease", "logout", "--tool", "pnpm", rig.server.url)

    assert done.returncode == 0, done.stderr
    assert "Unauthorized - 401" in rig.install("after").stderr
