"""cargo against a sparse registry on loopback that requires a token."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.api_server import Answer, ApiServer
from support.requirements import require
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api_server import Asked
    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("the home needs the kernel's keyring", allow_module_level=True)

TOKEN = "correct-horse-battery-staple"
ENTRY = {
    "name": "hello",
    "vers": "0.1.0",
    "deps": [],
    "cksum": "0" * 64,
    "features": {},
    "yanked": False,
}


class Registry:
    """The smallest registry that cargo accepts; it records each request with its token."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, bool]] = []
        self.url = ""
        self.published: list[dict[str, object]] = [ENTRY]

    def answer(self, asked: Asked) -> Answer:
        """Refuse requests without the token, as `auth-required` says."""
        known = asked.headers["Authorization"] == TOKEN
        self.seen.append((asked.method, asked.path, known))
        if not known:
            challenge = f'Cargo login_url="{self.url}/me"'
            return Answer(401, b"{}", {"WWW-Authenticate": challenge})
        config = {"dl": f"{self.url}/dl", "api": self.url, "auth-required": True}
        bodies: dict[str, object] = {
            "/index/config.json": config,
            "/api/v1/crates/hello/owners": {"users": [{"id": 1, "login": "ada", "name": None}]},
            "/api/v1/crates/new": {"warnings": {}},
        }
        if asked.method == "PUT":
            self.published.append(ENTRY | {"vers": "0.2.0"})
        if asked.path == "/index/he/ll/hello":
            # One JSON object per line. cargo waits until a published crate appears.
            return Answer(200, b"\n".join(json.dumps(each).encode() for each in self.published))
        body = bodies.get(asked.path)
        return Answer(404) if body is None else Answer(200, json.dumps(body).encode())


class Rig(NamedTuple):
    """A home with cargo set up, and its registry."""

    home: Throwaway
    registry: Registry

    def cargo(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run cargo for the registry."""
        return self.home.run("cargo", *words, "--registry", "mine", stdin=stdin)

    def login(self) -> None:
        """Log in, or fail."""
        done = self.cargo("login", stdin=f"{TOKEN}\n")
        assert done.returncode == 0, done.stderr

    def owners(self) -> subprocess.CompletedProcess[str]:
        """Ask for the owners, which require the token."""
        return self.cargo("owner", "--list", "hello")

    def holders(self) -> list[str]:
        """Return the files of the home that hold the token."""
        files = (path for path in self.home.home.parent.rglob("*") if path.is_file())
        return sorted(path.name for path in files if TOKEN.encode() in path.read_bytes())

    def events(self) -> list[tuple[str, str | None]]:
        """Return the events of sessions in the audit log, oldest first."""
        lines = [line for line in self.home.audit() if line["event"].startswith("session.")]
        return [(line["event"], line["reason"]) for line in lines]


@pytest.fixture
def rig(kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home where cargo asks keylease, and a registry."""
    require(shutil.which("cargo"), "cargo", "it is not on PATH")
    told = subprocess.run(
        ["cargo", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    found = re.match(r"cargo 1\.([0-9]+)\.", told.stdout)
    # cargo 1.74 is the first with stable credential providers, by its release notes.
    require(found and int(found[1]) >= 74, "cargo", f"it is too old: {told.stdout.strip()}")
    # cargo of rustup looks for the real cargo below the home of the user who runs the tests.
    rustup = os.environ.get("RUSTUP_HOME") or str(Path("~/.rustup").expanduser())
    kernel_home.environment["RUSTUP_HOME"] = rustup
    kernel_home.environment["CARGO_HTTP_MULTIPLEXING"] = "false"
    registry = Registry()
    with ApiServer(registry.answer) as server:
        registry.url = server.url
        config = kernel_home.home / ".cargo" / "config.toml"
        config.parent.mkdir()
        config.write_text(
            f'[registries.mine]\nindex = "sparse+{server.url}/index/"\n', encoding="utf-8"
        )
        done = kernel_home.run("keylease", "setup", "cargo")
        assert done.returncode == 0, done.stderr
        yield Rig(kernel_home, registry)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: cargo's own provider writes the token to a file, and the search finds it."""
    rig.home.run("keylease", "setup", "cargo", "--undo")
    rig.home.environment["CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS"] = "cargo:token"

    rig.login()

    assert ["credentials.toml"] == rig.holders()


def test_a_token_is_kept_used_and_ended(rig: Rig) -> None:
    """Without a session cargo asks for a login; with one each command works until a logout."""
    before = rig.owners()
    assert "no token found" in before.stderr
    assert "You may need to log in" in before.stderr

    rig.login()
    first, second = rig.owners(), rig.owners()
    assert [(0, "ada\n")] * 2 == [(done.returncode, done.stdout) for done in (first, second)]
    assert [] == rig.holders()
    assert not (rig.home.home / ".cargo" / "credentials.toml").exists()

    assert 0 == rig.cargo("logout").returncode
    after = rig.owners()
    assert "no token found" in after.stderr
    assert ("session.ended", "logout") in rig.events() or (
        "session.ended",
        "erased",
    ) in rig.events()


def test_a_crate_is_published(rig: Rig) -> None:
    """Publishing is authorised from the session, too."""
    rig.login()
    crate = rig.home.home / "crate"
    (crate / "src").mkdir(parents=True)
    (crate / "src" / "lib.rs").write_text("", encoding="utf-8")
    (crate / "Cargo.toml").write_text(
        '[package]\nname = "hello"\nversion = "0.2.0"\nedition = "2021"\n'
        'description = "x"\nlicense = "MIT"\npublish = ["mine"]\n',
        encoding="utf-8",
    )

    done = rig.cargo(
        "publish", "--no-verify", "--allow-dirty", "--manifest-path", str(crate / "Cargo.toml")
    )

    assert 0 == done.returncode, done.stderr
    assert ("PUT", "/api/v1/crates/new", True) in rig.registry.seen


def test_a_person_may_log_in_instead_of_cargo(rig: Rig) -> None:
    """A session of `keylease login` answers cargo."""
    index = f"sparse+{rig.registry.url}/index/"
    words = ("login", "--tool", "cargo", index, "--password-stdin")
    assert 0 == rig.home.run("keylease", *words, stdin=TOKEN).returncode

    assert "ada\n" == rig.owners().stdout


def test_an_ended_session_is_no_token_found(rig: Rig) -> None:
    """After the end cargo says in its own words what to do, and the line above gives the reason."""
    rig.home.environment |= {"KEYLEASE_IDLE_TIMEOUT": "2", "KEYLEASE_CAP": "2"}
    rig.login()
    until = time.monotonic() + 30
    while (done := rig.owners()).returncode == 0:
        assert time.monotonic() < until, "the session does not end"

    assert "keylease: error: the session for " in done.stderr
    assert " has ended: " in done.stderr
    assert "no token found" in done.stderr


def test_a_keychain_that_cannot_be_reached_is_no_missing_token(rig: Rig) -> None:
    """cargo stops and shows the reason; the message does not suggest a new login."""
    rig.login()
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.owners()

    assert done.returncode != 0
    assert "keylease: " in done.stderr
    assert "no token found" not in done.stderr
