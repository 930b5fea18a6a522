"""docs/admin.md: its Linux commands do what it says, run exactly as printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from support.kernel_keyring import require_kernel_keyring, require_keyctl
from support.requirements import require
from support.waiting import WAIT_SECONDS

import keylease

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "admin.md").read_text(encoding="utf-8")
SOURCE = Path(keylease.__file__).parent.parent
URL = "https://git.example"
CANARY = "hunter2-canary-41c7"
QUESTION = "protocol=https\nhost=git.example\n\n"
LOGIN = ("keylease", "login", URL, "--username", "ada", "--password-stdin")


def script(heading):
    """Return the first shell block below a heading."""
    below = DOCUMENT.split(f"# {heading}\n", 1)[1]
    found = re.search(r"```sh\n(.*?)```", below, re.DOTALL)
    return found[1]


def test_secret_tool_revokes(desktop):
    """The command deletes the vault key and keeps the audit key; the next use ends the sessions."""
    home = desktop.home
    require(home.find("secret-tool"), "secret-service", "secret-tool is not on PATH")
    assert 0 == home.run(*LOGIN, stdin=CANARY).returncode
    assert CANARY in home.run("keylease", "get", stdin=QUESTION).stdout

    assert 0 == home.run("sh", "-e", "-c", script("Secret Service")).returncode

    assert "" == home.run("keylease", "get", stdin=QUESTION).stdout
    assert 5 == home.run("keylease", "status").returncode
    assert [] == list(home.state.glob("sessions/*/*.sealed"))
    brought = f"{QUESTION[:-1]}username=ada\npassword={CANARY}\n\n"
    home.run("keylease", "store", stdin=brought)
    assert "" == home.run("keylease", "get", stdin=QUESTION).stdout, "no tool revives it"
    search = ("secret-tool", "search", "--all", "application", "keylease", "kind")
    assert "" == home.run(*search, "session-key").stdout
    assert "kind = audit-key" in home.run(*search, "audit-key").stderr
    assert 1 == [line["event"] for line in home.audit()].count("vault.revoked")


def test_keylease_revokes_in_the_secret_service(desktop):
    """The command of the first section leaves no item but the audit key."""
    home = desktop.home
    require(home.find("secret-tool"), "secret-service", "secret-tool is not on PATH")
    assert 0 == home.run(*LOGIN, stdin=CANARY).returncode

    done = home.run("sh", "-e", "-c", script("One user"))

    assert (0, "") == (done.returncode, done.stderr)
    search = ("secret-tool", "search", "--all", "application", "keylease")
    assert "" == home.run(*search, "kind", "session-key").stdout
    assert 5 == home.run("keylease", "status").returncode
    assert 0 == home.run(*LOGIN, stdin=CANARY).returncode


def test_locked_keyring_is_revoked_as_far_as_it_can_be(desktop):
    """With a locked keyring the files go and the vault is revoked; a message says the key stays."""
    home = desktop.home
    assert 0 == home.run(*LOGIN, stdin=CANARY).returncode
    desktop.keyring.lock()
    done = home.run("keylease", "revoke", "--yes")
    status = home.run("keylease", "status")
    desktop.keyring.unlock()  # otherwise the key could not be deleted afterwards

    assert 4 == done.returncode
    assert "may still be in Secret Service" in done.stderr
    assert "secret-tool clear service keylease:" in done.stderr
    assert [] == list(home.state.glob("sessions/*/*.sealed"))
    assert 5 == status.returncode


class Person(NamedTuple):
    """A user of the machine who exists for the duration of the test."""

    name: str
    uid: int
    home: Path
    programs: Path

    def run(self, *words, stdin=""):
        """Run a program as this user, with a kernel keyring of its own."""
        return subprocess.run(
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *words],
            input=stdin,
            env={
                "HOME": str(self.home),
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "KEYLEASE_KEYCHAIN": "kernel",
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def sealed(self):
        """Return the user's sealed files."""
        return list((self.home / ".local/state/keylease").glob("sessions/*/*.sealed"))

    def keys(self):
        """Return the kinds of the user's keys in the kernel's keyring."""
        listed = self.run("cat", "/proc/keys").stdout
        # proc_keys(5): the flag i marks an invalidated key that the kernel has not collected yet.
        alive = r"^[0-9a-f]+ [^ i]+ .* keylease:[0-9a-f]+:(session|audit)-key\."
        return sorted(re.findall(alive, listed, re.MULTILINE))


@pytest.fixture
def people():
    """Return two users with one session each; the scripts see only these users."""
    require_kernel_keyring()
    require_keyctl()
    for program in ("setpriv", "runuser", "unshare"):
        require(shutil.which(program), "second-user", f"{program} is not on PATH")
    require(os.geteuid() == 0, "second-user", "only root can become another user")
    root = Path(tempfile.mkdtemp(prefix="keylease-people-"))
    root.chmod(0o755)
    programs = root / "bin"
    programs.mkdir()
    first = 700_000_000 + 2 * (os.getpid() % 1_000_000)
    found = []
    try:
        for number, name in enumerate(("kl-ada", "kl-bob")):
            home = root / name
            home.mkdir(0o700)
            os.chown(home, first + number, first + number)
            found.append(Person(name, first + number, home, programs))
        _make_program(found[0])
        for person in found:
            done = person.run(*LOGIN, stdin=CANARY)
            assert (0, "") == (done.returncode, done.stderr)
        yield found
    finally:
        for person in found:
            person.run("keylease", "revoke", "--yes")
            person.run("keyctl", "clear", "@u")
        shutil.rmtree(root)


def _make_program(person):
    """Make a keylease that another user can run; the tests' Python may be in a private home."""
    program = person.programs / "keylease"
    path = os.pathsep.join((str(SOURCE), sysconfig.get_path("purelib")))
    for python in (sys.executable, "/usr/bin/python3"):
        run = f'exec {python} -m keylease "$@"'
        program.write_text(f"#!/bin/sh\nPYTHONPATH={path} KEYLEASE_KEYCHAIN=kernel {run}\n")
        program.chmod(0o755)
        if person.run("keylease", "status").returncode == 0:
            return
    require(condition=False, name="second-user", reason="no other user can run keylease here")


def test_keys_of_the_kernel_keyring_are_invalidated(people):
    """The command finds all vault keys of the user, but no audit key and no other user's key."""
    ada, bob = people

    done = ada.run("sh", "-e", "-c", script("Linux kernel keyring"))

    assert (0, "") == (done.returncode, done.stderr)
    assert (["audit"], ["audit", "session"]) == (ada.keys(), bob.keys())
    assert "" == ada.run("keylease", "get", stdin=QUESTION).stdout
    assert 5 == ada.run("keylease", "status").returncode
    assert [] == ada.sealed()
    assert CANARY in bob.run("keylease", "get", stdin=QUESTION).stdout


def test_every_user_is_revoked(people):
    """Root runs one script, and each user's keys, shares and files are deleted."""
    ada, bob = people
    can = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, check=False, timeout=WAIT_SECONDS
    )
    require(can.returncode == 0, "second-user", "this sandbox lets nobody mount anything")
    passwd = ada.home.parent / "passwd"
    lines = [f"{each.name}:x:{each.uid}:{each.uid}::{each.home}:/bin/sh" for each in people]
    # The list names only these users, so the script touches no real session.
    passwd.write_text("\n".join(("root:x:0:0:root:/nonexistent:/bin/sh", *lines, "")))
    inside = f"mount --bind {passwd} /etc/passwd\n{script('Linux, as root')}"

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside],
        env={"PATH": f"{ada.programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ["kl-ada: revoked", "kl-bob: revoked"] == re.findall(
        r"^kl-.*$", done.stdout, re.MULTILINE
    )
    assert "" == done.stderr
    for person in people:
        assert ["audit"] == person.keys()
        assert [] == person.sealed()
        assert 5 == person.run("keylease", "status").returncode
    assert 0 == bob.run(*LOGIN, stdin=CANARY).returncode, "and a login makes a new key"


def test_share_of_one_session_can_be_invalidated(people):
    """The documented command ends one session and keeps the vault and the other sessions."""
    ada, _ = people
    (session,) = ada.sealed()
    words = ("keylease", "login", "https://two.example", *LOGIN[3:])
    assert 0 == ada.run(*words, stdin=CANARY).returncode
    (command,) = re.findall(r"`(keyctl invalidate %user:keylease:share:)<session id>`", DOCUMENT)

    assert 0 == ada.run("sh", "-c", f"{command}{session.stem}").returncode

    assert "" == ada.run("keylease", "get", stdin=QUESTION).stdout
    assert 1 == len(ada.sealed())
    assert 0 == ada.run("keylease", "status").returncode
