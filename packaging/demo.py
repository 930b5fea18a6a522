"""Show keylease's main job on this machine, from login to revocation.

A git server with basic authentication listens on loopback. keylease and git run in a throwaway
HOME, and the keys go to the machine's real keychain. The demo shows each command as a user would
type it, with its real output, and checks the result. The exit code is 0 if every check holds.

It neither reads nor writes the user's own files, and removes its files and keys at the end, also
after a failure or Ctrl-C. It needs git, the standard library and an installed keylease.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent
# The server and the home come from the tests, so the demo shows what is tested.
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.git_server import GitServer, find_git  # noqa: E402 (after the line above)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.git_server import Seen
    from support.throwaway import Throwaway

# A unique name, which the search through the home's files must find.
USERNAME = "ada.lovelace"
REPOSITORY = "project.git"
# The address of the user's keychain, and the user's choice of one.
PASSED_ON = ("DBUS_SESSION_BUS_ADDRESS", "KEYLEASE_KEYCHAIN")
# Exit codes of refused commands.
GIT_REFUSED = 128
STATUS_REVOKED = 5


class UnexpectedError(Exception):
    """A check failed, which ends the demo."""


# Backends of the library `keyring`, which delete the key if the platform's own tool is missing.
BACKENDS = {
    "secret-service": "keyring.backends.SecretService.Keyring",
    "macos": "keyring.backends.macOS.Keyring",
    "windows": "keyring.backends.Windows.WinVaultKeyring",
}

# Makes the system calls of keyctl(1) by keylease's own module if keyctl is not installed.
UNLINK = """
import sys
from keylease.system.clock import Deadline
from keylease.keystores.base import Item
from keylease.keystores.kernel import open_keystore
_, vault, name = sys.argv[1].split(":")
kind, _, generation = name.rpartition(".")
open_keystore("kernel", Deadline(2)).delete(Item(vault, kind, int(generation)))
"""


class Demo:
    """The steps of the demo.

    Args:
        home: The home in which the commands run.
        server: The server that git talks to.
        password: The password that the server accepts.
    """

    def __init__(self, home: Throwaway, server: GitServer, password: str) -> None:
        self._home = home
        self._server = server
        self._password = password
        self.title = ""
        """The current step."""
        self.keychain = ""
        """The keychain with the keys, as named in `vault.json`."""

    def play(self) -> None:
        """Run every step in order.

        Raises:
            UnexpectedError: a step failed.
        """
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("git is set up to ask only keylease", self.set_up),
            ("without a session git gets nothing", self.refuse_before_login),
            ("a login, with the password on stdin", self.log_in),
            ("a clone with no prompt", self.clone),
            ("a fetch with no prompt", self.fetch),
            ("the user lists the sessions", self.status),
            ("the admin reads the audit log", self.audit),
            ("the password is in no file of this home", self.search),
            ("an admin deletes the vault key from the keychain", self.revoke),
            ("the next fetch is refused", self.refuse_after_revocation),
            ("the user learns why", self.status_after_revocation),
        )
        for number, (title, step) in enumerate(steps, 1):
            self.title = f"step {number}, {title}"
            say(f"\n{number}. {title}")
            step()

    def set_up(self) -> None:
        """Let keylease edit git's configuration."""
        self._command("keylease", "setup", "git", "--global")
        done = self._command("git", "config", "--global", "--get-all", "credential.helper")
        # The empty line removes the helpers of git's other configuration files.
        program = self._home.find("git-credential-keylease")
        expect(done.stdout in {f"\n{program}\n", "\nkeylease\n"}, "git asks keylease alone")

    def refuse_before_login(self) -> None:
        """Show that the server wants a password, and that git has no way to get one."""
        seen = self._git_refused("clone", self._server.url(REPOSITORY))
        expect(not any(each.scheme for each in seen), "git had no password to send")

    def log_in(self) -> None:
        """Start the session, which also makes the vault and its key."""
        words = ("login", self._server.url(), "--username", USERNAME, "--password-stdin")
        self._command("keylease", *words, stdin=self._password, said='"$PASSWORD"')
        vault = self._home.vault()
        expect(vault is not None, "there is a vault now")
        self.keychain = str((vault or {}).get("keychain"))
        say(f"   its key is in the keychain `{self.keychain}`")

    def clone(self) -> None:
        """Clone with the session's password."""
        self._git("clone", self._server.url(REPOSITORY), "project")
        expect((self._home.home / "project" / "README").is_file(), "the files are there")

    def fetch(self) -> None:
        """Fetch a commit that is newer than the clone."""
        new = self._server.commit(REPOSITORY, {"README": "read me again\n"}, "Say it again")
        self._git("-C", "project", "fetch")
        done = self._command("git", "-C", "project", "rev-parse", "origin/main")
        expect(done.stdout.strip() == new, "the new commit is there")

    def status(self) -> None:
        """Show the live session."""
        done = self._command("keylease", "status")
        expect(self._server.host in done.stdout, "the session is listed")
        expect(self._password not in done.stdout + done.stderr, "its password is not")

    def audit(self) -> None:
        """Show the lines of the audit log."""
        self._command("keylease", "audit", "query")
        events = [line["event"] for line in self._home.audit()]
        wanted = {"session.created", "session.released", "session.confirmed"}
        expect(wanted <= set(events), "creation, release and git's confirmation are in the log")

    def search(self) -> None:
        """Search every file for the password, and prove the search with the username."""
        # The pattern comes on stdin, because command lines are public.
        search = "grep -rlF -f /dev/stdin ."
        self._shell(search, stdin=self._password, said='"$PASSWORD"', code=1)
        say("   ok: grep found it nowhere")
        done = self._shell(search, stdin=USERNAME, said=USERNAME)
        expect(bool(done.stdout), "the username is found, so the search works")

    def revoke(self) -> None:
        """Delete the key with the platform's own tool, or a substitute if that is missing."""
        self._command("keylease", "key", "show")
        shown = json.loads(self._home.run("keylease", "key", "show", "--json").stdout)
        service, words = shown["service"], shlex.split(shown["removal_command"] or "")
        if words and self._home.find(words[0]) is not None:
            self._command(*words)
        elif self.keychain == "kernel":
            say("   keyctl is not installed here, so its system calls are made from Python")
            self._command(sys.executable, "-c", UNLINK, service)
        else:
            backend = BACKENDS.get(self.keychain) or self.keychain.partition(":")[2]
            say("   the platform's tool is not installed here, so the library `keyring` does it")
            self._command(
                sys.executable, "-m", "keyring", "-b", backend, "del", service, "keylease"
            )

    def refuse_after_revocation(self) -> None:
        """Show that the password, which worked a moment ago, no longer reaches the server."""
        self._server.commit(REPOSITORY, {"README": "too late\n"}, "Too late")
        seen = self._git_refused("-C", "project", "fetch")
        expect(not any(each.scheme for each in seen), "git had no password to send")

    def status_after_revocation(self) -> None:
        """Show the status that the user now sees."""
        done = self._command("keylease", "status", code=STATUS_REVOKED)
        expect("revoked" in done.stdout + done.stderr, "it says revoked")
        events = [line["event"] for line in self._home.audit()]
        expect("vault.revoked" in events, "so does the audit log")

    def _git(self, *words: str) -> None:
        self._server.forget()
        self._command("git", *words)
        seen = self._server.seen()
        expect(any(each.authorised for each in seen), "the server got the right password")
        expect(all(each.username in {"", USERNAME} for each in seen), "and no other user name")

    def _git_refused(self, *words: str) -> list[Seen]:
        self._server.forget()
        self._command("git", *words, code=GIT_REFUSED)
        seen = self._server.seen()
        expect(bool(seen), "the server was asked")
        expect(not any(each.authorised for each in seen), "and it refused")
        return seen

    def _shell(
        self, line: str, *, stdin: str = "", said: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self._run(["sh", "-c", line], line, stdin, said, code)

    def _command(
        self, *words: str, stdin: str = "", said: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self._run(list(words), shlex.join(words), stdin, said, code)

    def _run(
        self, words: list[str], shown: str, stdin: str, said: str, code: int
    ) -> subprocess.CompletedProcess[str]:
        """Run and show a command, and check its exit code; `said` stands for its stdin."""
        pipe = f"printf '%s\\n' {said} | " if said else ""
        say(f"$ {pipe}{shown}")
        done = self._home.run(*words, stdin=f"{stdin}\n" if stdin else "")
        for line in (done.stdout + done.stderr).splitlines():
            say(line)
        if done.returncode != code:
            msg = f"expected: exit code {code}; it was {done.returncode}"
            raise UnexpectedError(msg)
        return done


def say(line: str) -> None:
    """Print and flush, so that a pipe shows the line at once."""
    print(line, flush=True)


def expect(fact: bool, claim: str) -> None:  # noqa: FBT001 (the claim's truth, not a switch)
    """Print that the claim holds.

    Raises:
        UnexpectedError: it does not.
    """
    if not fact:
        msg = f"this does not hold: {claim}"
        raise UnexpectedError(msg)
    say(f"   ok: {claim}")


def interrupt(*_: object) -> NoReturn:
    """End the demo as Ctrl-C does, and ignore further signals during the clean-up.

    Raises:
        KeyboardInterrupt: always.
    """
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def play(root: Path) -> str:
    """Run the demo in an empty directory, delete its keys, and return the keychain that it used.

    Raises:
        UnexpectedError: a check failed; the message names it.
    """
    served = root / "served"
    served.mkdir()
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    password = secrets.token_urlsafe(24)
    # It imports keylease, which is not installed yet when `--check` runs.
    from support.throwaway import Throwaway  # noqa: PLC0415

    with GitServer(served) as server, Throwaway(root / "throwaway", environment) as home:
        server.add_repository(REPOSITORY, {"README": "read me\n"})
        server.allow(USERNAME, password)
        demo = Demo(home, server, password)
        try:
            demo.play()
        except UnexpectedError as error:
            msg = f"{demo.title}: {error}"
            raise UnexpectedError(msg) from None
    return demo.keychain


def main() -> int:
    """Run the demo, print its verdict and return its exit code."""
    if find_git() is None:
        say("verdict: FAILED: no git here can serve HTTP; install git with `git http-backend`")
        return 1
    if sys.argv[1:] == ["--check"]:
        return 0
    for each in ENDING:
        signal.signal(each, interrupt)
    say(f"keylease on {platform.platform(terse=True)}, Python {platform.python_version()}")
    say("in a throwaway HOME, where git cannot prompt (GIT_TERMINAL_PROMPT=0)")
    try:
        with tempfile.TemporaryDirectory(prefix="keylease-demo-") as root:
            keychain = play(Path(root))
    except (UnexpectedError, RuntimeError, subprocess.TimeoutExpired) as error:
        # RuntimeError: the server failed, or a key could not be deleted.
        say(f"\nverdict: FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nverdict: INTERRUPTED; the demo's keys and home are deleted")
        return 1
    say(f"\nverdict: OK: keylease works here, with the keychain `{keychain}`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
