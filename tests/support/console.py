"""The program `keylease`, run in this process with a clock and a keychain that tests control."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from support.audit_place import MemoryPin

from keylease import config, keystores, wiring
from keylease.cli import main
from keylease.config import Place
from keylease.config.base import KEYS, variable
from keylease.shares.policy import PolicyShares
from keylease.testing import FrozenClock, MemoryKeyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from keylease.shares.base import ShareStore
    from keylease.system.clock import Deadline


class Said(NamedTuple):
    """The output of one command, and its exit code."""

    code: int
    out: str
    err: str


class Console:
    """Commands on one state directory, each with its own wiring, as separate processes have.

    Args:
        state: The path for the state directory, which this does not make.
        monkeypatch: Puts the clock and the keychain into the wiring.
        capsys: Captures the output.
    """

    def __init__(
        self, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.state = state
        self.clock = FrozenClock()
        self.keystore = MemoryKeyStore()
        self.shares: tuple[ShareStore, ...] = (PolicyShares(),)
        self.pin = MemoryPin()
        # The user who runs the tests counts as root here, as only root's policy is accepted.
        owners = frozenset((os.geteuid() if hasattr(os, "geteuid") else 0,))
        configuration = state.parent / "configuration"
        self.user = Place("user", str(configuration / "config.toml"), owners)
        self.policy = Place("policy", str(configuration / "policy.toml"), owners)
        self._capsys = capsys
        monkeypatch.setenv("KEYLEASE_STATE_DIR", str(state))
        for name in KEYS:
            monkeypatch.delenv(variable(name), raising=False)
        monkeypatch.setattr(config, "user_file", lambda: self.user)
        monkeypatch.setattr(config, "machine_policy", lambda: self.policy)
        if sys.platform == "win32":
            monkeypatch.setattr("keylease.config.file._judge_owner", lambda _: None)
        monkeypatch.setattr(wiring, "BootClock", lambda: self.clock)
        monkeypatch.setattr(wiring, "_shares", lambda: self.shares)
        monkeypatch.setattr(wiring, "open_pin", lambda: self.pin)
        monkeypatch.setattr(keystores, "choose", self._choose)
        monkeypatch.setattr(keystores, "open_keystore", lambda *_: self.keystore)

    def _choose(self, _: Deadline) -> MemoryKeyStore:
        """Return the keychain if it can store a key now, as the real choice does."""
        self.keystore.probe()
        return self.keystore

    def run(self, *words: str, stdin: bytes = b"") -> Said:
        """Run one command and return its output."""
        with _stdin(stdin):
            code = main(words)
        return Said(code, *self._capsys.readouterr())

    def configure(self, place: Place, text: str) -> None:
        """Write one of the two configuration files with its owner's mode."""
        path = Path(place.path)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)

    def answer(self, *words: str) -> tuple[int, bytes, str]:
        """Run a command that writes to the process's own stdout; return code, bytes and stderr."""
        before = os.dup(1)
        with tempfile.TemporaryFile() as file:
            try:
                os.dup2(file.fileno(), 1)
                said = self.run(*words)
            finally:
                os.dup2(before, 1)
                os.close(before)
            file.seek(0)
            return said.code, file.read(), said.err

    def login(
        self, url: str = "https://git.example", username: str = "ada", password: bytes = b"pass"
    ) -> None:
        """Start a session; fail the test if that is refused."""
        words = ("login", url, "--username", username, "--password-stdin")
        said = self.run(*words, stdin=password)
        assert (0, "") == (said.code, said.err)

    def status(self, *words: str) -> dict[str, Any]:
        """Return the output of `status --json`."""
        document: dict[str, Any] = json.loads(self.run("status", "--json", *words).out)
        return document

    def urls(self) -> list[str]:
        """Return the targets of the live sessions, oldest first."""
        targets = [session["target"] for session in self.status()["sessions"]]
        paths = ["" if each["path"] is None else f"/{each['path']}" for each in targets]
        return [
            f"{t['protocol']}://{t['host']}{path}" for t, path in zip(targets, paths, strict=True)
        ]

    def audit(self) -> list[dict[str, Any]]:
        """Return every audit line, oldest first."""
        days = sorted((self.state / "audit").glob("*.jsonl"))
        return [json.loads(line) for day in days for line in day.read_text("ascii").splitlines()]

    def revoke(self) -> None:
        """Delete the vault key from the keychain, as an admin does."""
        for item in self.keystore.items:
            if item.kind == "session-key":
                self.keystore.delete(item)


@contextmanager
def _stdin(data: bytes) -> Iterator[None]:
    """Replace the process's stdin by a pipe."""
    read, write = os.pipe()
    before = os.dup(0)
    try:
        os.dup2(read, 0)
        os.close(read)
        os.write(write, data)  # fits into a pipe
        os.close(write)
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
