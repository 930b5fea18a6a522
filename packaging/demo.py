"""The main job on this machine, from login to revocation, where everybody can watch it.

A git server with basic authentication listens on loopback, keylease and git run in a throwaway
HOME, and the keys go to whatever keychain the machine has. Every command is shown as a user would
type it, with what it really said, and is judged. The exit code is 0 if all was as it should be.

Nothing of the user's own is read or written, and nothing is left behind: neither files nor keys,
after a failure and Ctrl-C neither. It needs git, the standard library and an installed keylease.
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
# The server and the home are those of the tests, so what is shown here is what is tested.
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.git_server import GitServer, find_git  # noqa: E402 (after the line above)
from support.throwaway import Throwaway  # noqa: E402 (the same)

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.git_server import Seen

# A name that is found nowhere else, for the search of the home's files has to find it.
USERNAME = "ada.lovelace"
REPOSITORY = "project.git"
# How the user's keychain is reached, and which one the user wants.
PASSED_ON = ("DBUS_SESSION_BUS_ADDRESS", "KEYLEASE_KEYCHAIN")
# What the commands exit with when the answer is no.
GIT_REFUSED = 128
STATUS_REVOKED = 5


class UnexpectedError(Exception):
    """Something was not as it should be. The demo ends there."""


# What else deletes a key where the platform's own tool is missing: the backend of the library
# `keyring` that sees the same keys.
BACKENDS = {
    "secret-service": "keyring.backends.SecretService.Keyring",
    "macos": "keyring.backends.macOS.Keyring",
    "windows": "keyring.backends.Windows.WinVaultKeyring",
}

# Where keyctl(1) is not installed, the same system calls by way of keylease's own module.
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
    """The steps, in the home and with the server that it is given.

    Args:
        home: Where the commands run.
        server: What git talks to.
        password: The one that the server knows.
    """

    def __init__(self, home: Throwaway, server: GitServer, password: str) -> None:
        self._home = home
        self._server = server
        self._password = password
        self.title = ""
        """The step that is played."""
        self.keychain = ""
        """Where the keys went, as `vault.json` names it."""

    def play(self) -> None:
        """Play every step in its order.

        Raises:
            UnexpectedError: one of them did not end as it should.
        """
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("git is told to ask keylease and nobody else", self.set_up),
            ("without a session git gets nothing", self.refuse_before_login),
            ("a login, with the password on stdin", self.log_in),
            ("a clone with no prompt", self.clone),
            ("a fetch with no prompt", self.fetch),
            ("what is there now, for the user", self.status),
            ("what was written down, for the admin", self.audit),
            ("the password is in no file of this home", self.search),
            ("an admin deletes the vault key from the keychain", self.revoke),
            ("the next fetch is refused", self.refuse_after_revocation),
            ("the user is told why", self.status_after_revocation),
        )
        for number, (title, step) in enumerate(steps, 1):
            self.title = f"step {number}, {title}"
            say(f"\n{number}. {title}")
            step()

    def set_up(self) -> None:
        """Write the lines into git's configuration."""
        self._command("keylease", "setup", "git", "--global")
        done = self._command("git", "config", "--global", "--get-all", "credential.helper")
        # The empty line forgets every helper that another file of git's configuration names.
        program = self._home.find("git-credential-keylease")
        expect(done.stdout in {f"\n{program}\n", "\nkeylease\n"}, "git asks keylease alone")

    def refuse_before_login(self) -> None:
        """Show that the server wants a password, and that git has none and nobody to ask."""
        seen = self._git_refused("clone", self._server.url(REPOSITORY))
        expect(not any(each.scheme for each in seen), "git had no password to send")

    def log_in(self) -> None:
        """Start the session. That makes the vault and its key too."""
        words = ("login", self._server.url(), "--username", USERNAME, "--password-stdin")
        self._command("keylease", *words, stdin=self._password, said='"$PASSWORD"')
        vault = self._home.vault()
        expect(vault is not None, "there is a vault now")
        self.keychain = str((vault or {}).get("keychain"))
        say(f"   its key is in the keychain `{self.keychain}`")

    def clone(self) -> None:
        """Clone with the password out of the session."""
        self._git("clone", self._server.url(REPOSITORY), "project")
        expect((self._home.home / "project" / "README").is_file(), "the files are there")

    def fetch(self) -> None:
        """Fetch a commit that was not there when the repository was cloned."""
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
        expect(wanted <= set(events), "creation, release and git's thanks are on record")

    def search(self) -> None:
        """Search every file, and show that the same search does find what is there."""
        # The pattern comes on stdin: the words of a command line are public.
        search = "grep -rlF -f /dev/stdin ."
        self._shell(search, stdin=self._password, said='"$PASSWORD"', code=1)
        say("   ok: grep found it nowhere")
        done = self._shell(search, stdin=USERNAME, said=USERNAME)
        expect(bool(done.stdout), "the username is found, so the search works")

    def revoke(self) -> None:
        """Delete the key with the platform's own tool, or as near to it as this machine can."""
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
            say("   the platform has no tool for it here, so the library `keyring` does it")
            self._command(
                sys.executable, "-m", "keyring", "-b", backend, "del", service, "keylease"
            )

    def refuse_after_revocation(self) -> None:
        """Show that the password that opened the server a moment ago does not reach it any more."""
        self._server.commit(REPOSITORY, {"README": "too late\n"}, "Too late")
        seen = self._git_refused("-C", "project", "fetch")
        expect(not any(each.scheme for each in seen), "git had no password to send")

    def status_after_revocation(self) -> None:
        """Show what the user reads now."""
        done = self._command("keylease", "status", code=STATUS_REVOKED)
        expect("revoked" in done.stdout + done.stderr, "it says revoked")
        events = [line["event"] for line in self._home.audit()]
        expect("vault.revoked" in events, "so does the audit log")

    def _git(self, *words: str) -> None:
        self._server.forget()
        self._command("git", *words)
        seen = self._server.seen()
        expect(any(each.authorised for each in seen), "the server was given the right password")
        expect(all(each.username in {"", USERNAME} for each in seen), "and no other")

    def _git_refused(self, *words: str) -> list[Seen]:
        self._server.forget()
        self._command("git", *words, code=GIT_REFUSED)
        seen = self._server.seen()
        expect(bool(seen), "the server was asked")
        expect(not any(each.authorised for each in seen), "and refused")
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
        """Run it, show it and judge its exit. `said` is shown for what goes to stdin."""
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
    """Print at once, so that a pipe shows it when it happens."""
    print(line, flush=True)


def expect(fact: bool, claim: str) -> None:  # noqa: FBT001 (what is claimed, not a switch)
    """Say that the claim holds.

    Raises:
        UnexpectedError: it does not.
    """
    if not fact:
        msg = f"expected: {claim}; it is not so"
        raise UnexpectedError(msg)
    say(f"   ok: {claim}")


def interrupt(*_: object) -> NoReturn:
    """End the demo as Ctrl-C does, and let nothing interrupt the cleaning up.

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
    """Play the demo in an empty directory and return the keychain that it used.

    On return its keys are deleted.

    Raises:
        UnexpectedError: something was not as it should be, and it says what.
    """
    served = root / "served"
    served.mkdir()
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    password = secrets.token_urlsafe(24)
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
    """Play the demo, print its verdict and return its exit code."""
    if find_git() is None:
        say("verdict: FAILED: no git here can serve HTTP; install git with `git http-backend`")
        return 1
    if sys.argv[1:] == ["--check"]:
        return 0
    for each in ENDING:
        signal.signal(each, interrupt)
    say(f"keylease on {platform.platform(terse=True)}, Python {platform.python_version()}")
    say("in a throwaway HOME, where git may ask nobody (GIT_TERMINAL_PROMPT=0)")
    try:
        with tempfile.TemporaryDirectory(prefix="keylease-demo-") as root:
            keychain = play(Path(root))
    except (UnexpectedError, RuntimeError, subprocess.TimeoutExpired) as error:
        # RuntimeError: the server broke, or a key could not be deleted; it says which.
        say(f"\nverdict: FAILED: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nverdict: INTERRUPTED; its keys are deleted, and so is its home")
        return 1
    say(f"\nverdict: OK: keylease does its job here, with the keychain `{keychain}`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
