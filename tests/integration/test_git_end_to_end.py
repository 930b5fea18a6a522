"""The main job: a real git over HTTP, a server that checks passwords, and a real keychain."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.git_server import GitServer, find_git
from support.gits import GITS, Git, git_credential
from support.requirements import require
from support.throwaway import find_program
from support.tracing import READABLE, require_strace
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.throwaway import Throwaway

USER, PASSWORD = "ada", "correct horse: battery staple"
ASK_ONCE = """#!/bin/sh
echo "$1" >> "$0.asked"
case "$1" in
    Username*) echo ada ;;
    Password*) cat "$0.password" ;;
esac
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """Return a server with one repository and one account."""
    require(find_git(), "git-http", "no git here can serve HTTP")
    root = tmp_path / "served"
    root.mkdir()
    with GitServer(root) as server:
        server.add_repository("project.git", {"README": "read me\n"})
        server.allow(USER, PASSWORD)
        yield server


@pytest.fixture
def helped(home: Throwaway) -> Throwaway:
    """Return a home in which keylease is git's only helper."""
    home.run("git", "config", "--global", "credential.helper", "")
    home.run("git", "config", "--global", "--add", "credential.helper", "keylease")
    return home


def login(home: Throwaway, server: GitServer) -> None:
    """Log in as a user does."""
    done = home.run(
        "keylease", "login", server.url(), "--username", USER, "--password-stdin", stdin=PASSWORD
    )
    assert done.returncode == 0, done.stderr


def let_git_ask(home: Throwaway, password: str = PASSWORD) -> Path:
    """Let git ask a user who answers; return the file that has one line per question."""
    program = home.home / "askpass"
    program.write_text(ASK_ONCE, "utf-8")
    program.chmod(0o700)
    (home.home / "askpass.password").write_text(password, "utf-8")
    home.environment["GIT_ASKPASS"] = str(program)
    return home.home / "askpass.asked"


def events(home: Throwaway) -> list[tuple[str, str | None]]:
    """Return event and reason of every audit line, oldest first."""
    return [(line["event"], line["reason"]) for line in home.audit()]


def delete_key(home: Throwaway) -> None:
    """Delete the vault key with the platform's own tool, as an admin does."""
    vault: dict[str, Any] = home.vault() or {}
    if vault["keychain"] == "kernel":
        require(shutil.which("keyctl"), "kernel-keyring", "keyctl is not on PATH")
        serial = home.run("keyctl", "search", "@u", "user", home.service()).stdout.strip()
        # A shell under pytest may not possess @u; the manual says to link it first.
        done = home.run("keyctl", "unlink", serial, "@u")
    else:
        require(shutil.which("secret-tool"), "secret-service", "secret-tool is not on PATH")
        done = home.run("secret-tool", "clear", "application", "keylease", "kind", "session-key")
    assert done.returncode == 0, done.stderr


def test_login_then_clone_fetch_and_push_without_a_prompt(
    helped: Throwaway, server: GitServer
) -> None:
    """After one login git clones, fetches and pushes without a question, each release on record."""
    login(helped, server)

    cloned = helped.run("git", "clone", "--quiet", server.url("project.git"), "project")
    assert (0, "") == (cloned.returncode, cloned.stderr)
    helped.run("git", "-C", "project", "config", "user.email", "ada@example.com")
    helped.run("git", "-C", "project", "config", "user.name", "Ada")
    (helped.home / "project" / "new").write_text("new\n", "utf-8")
    helped.run("git", "-C", "project", "add", "new")
    helped.run("git", "-C", "project", "commit", "--quiet", "-m", "Add new")
    pushed = helped.run("git", "-C", "project", "push", "--quiet")
    fetched = helped.run("git", "-C", "project", "fetch")

    assert (0, "") == (pushed.returncode, pushed.stderr)
    assert (0, "") == (fetched.returncode, fetched.stderr)
    assert 3 == events(helped).count(("session.released", None))
    assert 3 == events(helped).count(("session.confirmed", None))
    assert 1 == events(helped).count(("session.created", None))


def test_one_answer_to_git_is_enough(helped: Throwaway, server: GitServer) -> None:
    """Without a login, git asks its user once and not again."""
    asked = let_git_ask(helped)

    cloned = helped.run("git", "clone", "--quiet", server.url("project.git"), "project")
    questions = asked.read_text("utf-8").splitlines()
    fetched = helped.run("git", "-C", "project", "fetch")

    assert (0, 0) == (cloned.returncode, fetched.returncode)
    assert 2 == len(questions), "git asks for username and password"
    assert questions == asked.read_text("utf-8").splitlines()


def test_deleted_key_stops_git_and_a_store_revives_nothing(
    helped: Throwaway, server: GitServer
) -> None:
    """Deleting the key in the keychain ends the session, and git's own store does not revive it."""
    login(helped, server)
    helped.run("git", "clone", "--quiet", server.url("project.git"), "project")
    delete_key(helped)

    refused = helped.run("git", "-C", "project", "fetch")
    sealed = list(helped.state.rglob("*.sealed"))
    let_git_ask(helped)
    answered = helped.run("git", "-C", "project", "fetch")
    status = helped.run("keylease", "status")

    assert 0 != refused.returncode
    assert [] == sealed
    assert 0 == answered.returncode, "the control: the password is right"
    assert [] == list(helped.state.rglob("*.sealed"))
    assert ("vault.revoked", None) in events(helped)
    assert ("session.refused", "revoked") == events(helped)[-1]
    assert "revoked" in status.stdout + status.stderr
    assert 5 == status.returncode

    login(helped, server)
    del helped.environment["GIT_ASKPASS"]
    assert 0 == helped.run("git", "-C", "project", "fetch").returncode


def test_refused_password_ends_the_session(helped: Throwaway, server: GitServer) -> None:
    """When the server rejects the password, git's erase ends the session."""
    login(helped, server)
    server.allow(USER, "another password")

    refused = helped.run("git", "ls-remote", server.url("project.git"))

    assert 0 != refused.returncode
    assert ("session.ended", "erased") in events(helped)
    assert [] == list(helped.state.rglob("*.sealed"))


def test_timeout_in_the_configuration_counts(helped: Throwaway, server: GitServer) -> None:
    """With `helper = keylease --timeout 1` the credential that git stored ends a second later."""
    helped.run("git", "config", "--global", "--unset-all", "credential.helper")
    helped.run("git", "config", "--global", "credential.helper", "keylease --timeout 1")
    let_git_ask(helped)
    assert 0 == helped.run("git", "ls-remote", server.url("project.git")).returncode

    (created,) = [line for line in helped.audit() if line["event"] == "session.created"]
    _wait_past(created["boottime_ns"] + 1_000_000_000)
    missed = helped.run("keylease", "get", stdin=f"protocol=http\nhost={server.host}\n\n")

    assert (0, "", "") == (missed.returncode, missed.stdout, missed.stderr)
    assert ("session.ended", "idle") in events(helped)


@pytest.mark.parametrize("git", GITS, ids=str)
def test_what_git_stores_after_a_get_moves_nothing(kernel_home: Throwaway, git: Git) -> None:
    """git stores back what it got, which never changes the session's start, cap or timeout."""
    kernel_home.run("keylease", "store", stdin=_message(username=USER, password=PASSWORD))
    (sealed,) = kernel_home.state.rglob("*.sealed")
    before = sealed.read_bytes()

    for _ in range(3):
        filled = git_credential(kernel_home, git, "fill", _message())
        (touch,) = kernel_home.state.rglob("*.touch")
        used = touch.read_bytes()
        git_credential(kernel_home, git, "approve", filled)

        assert f"password={PASSWORD}\n" in filled
        assert before == sealed.read_bytes()
        assert used == touch.read_bytes()
    assert 3 == events(kernel_home).count(("session.confirmed", None))
    assert 1 == events(kernel_home).count(("session.created", None))
    assert ("state[]=keylease:" in filled) == (git.version >= (2, 46))


@pytest.mark.parametrize("git", GITS, ids=str)
def test_other_helper_keeps_a_copy_unless_git_knows_ephemeral(
    kernel_home: Throwaway, git: Git
) -> None:
    """git gives the credential to a second helper: the leak is real, and the docs warn of it.

    git marks the credential as `ephemeral`, which asks a helper not to keep it.
    git-credential-store ignores the mark.
    """
    kernel_home.run("keylease", "store", stdin=_message(username=USER, password=PASSWORD))
    plaintext = kernel_home.home / "plaintext"
    helpers = ("keylease", f"store --file={plaintext}")

    filled = git_credential(kernel_home, git, "fill", _message(), helpers=helpers)
    git_credential(kernel_home, git, "approve", filled, helpers=helpers)

    assert plaintext.exists()
    assert ("ephemeral=1" in filled) == (git.version >= (2, 46))


def test_locked_keyring_loses_nothing(desktop: Any) -> None:
    """With a locked keyring git gets no answer and no session ends; unlocking restores them."""
    home, keyring = desktop
    home.run("keylease", "store", stdin=_message(username=USER, password=PASSWORD))
    keyring.lock()

    locked = home.run("keylease", "get", stdin=_message())
    stored = home.run("keylease", "store", stdin=_message(username=USER, password="new"))
    sealed = list(home.state.rglob("*.sealed"))
    status = home.run("keylease", "status")
    keyring.unlock()
    unlocked = home.run("keylease", "get", stdin=_message())

    assert (1, "", "") == (locked.returncode, locked.stdout, locked.stderr)
    assert (1, "") == (stored.returncode, stored.stderr)
    assert 1 == len(sealed)
    assert 4 == status.returncode
    assert f"password={PASSWORD}\n" in unlocked.stdout
    assert ("session.refused", "keychain_unavailable") in events(home)


def test_hung_keychain_is_given_up(desktop: Any) -> None:
    """With a hung Secret Service the helper refuses in time."""
    home, keyring = desktop
    home.run("keylease", "store", stdin=_message(username=USER, password=PASSWORD))
    keyring.stop()
    try:
        hung = home.run("keylease", "get", stdin=_message(), timeout_seconds=20)
    finally:
        keyring.resume()
    again = home.run("keylease", "get", stdin=_message())

    assert (1, "", "") == (hung.returncode, hung.stdout, hung.stderr)
    assert f"password={PASSWORD}\n" in again.stdout


def test_helper_writes_only_its_state_and_starts_nothing(home: Throwaway) -> None:
    """One get opens no file for writing outside the state directory and runs no other program.

    The first program that strace sees is the shell script, which becomes Python.
    """
    require_strace()
    home.run("keylease", "store", stdin=_message(username=USER, password=PASSWORD))
    home.environment |= READABLE
    program = find_program("git-credential-keylease")
    assert program is not None

    traced = home.run(
        *("strace", "-f", "-y", "-e", "trace=%file,execve,clone,fork,vfork"),
        *("-o", str(home.home / "trace"), program, "get"),
        stdin=_message(),
    )
    lines = (home.home / "trace").read_text("utf-8", "replace").splitlines()
    opened = [line for line in lines if "open" in line and ("O_WRONLY" in line or "O_RDWR" in line)]
    outside = [line for line in opened if str(home.state) not in line and '"/dev/' not in line]

    assert f"password={PASSWORD}\n" in traced.stdout
    assert 2 == sum("execve(" in line for line in lines)
    assert [] == [line for line in lines if "fork(" in line or "clone" in line]
    assert len(opened) > 0, "the control: the audit log is written"
    assert [] == outside
    # An execve line would show an argument or a variable of any process.
    assert not any(PASSWORD in line for line in lines)


def test_worktree_cannot_slip_in_code(helped: Throwaway, server: GitServer) -> None:
    """In a cloned worktree the helper runs no module or program from it, though git runs there."""
    login(helped, server)
    trap = helped.home / "trap"
    trap.mkdir()
    for name in ("json.py", "sitecustomize.py", "usercustomize.py", "keylease.py", "hmac.py"):
        (trap / name).write_text(f"open({str(helped.home / 'sprung')!r}, 'w')\n", "utf-8")
    for name in ("git", "git-credential-keylease", "keylease"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {helped.home / 'sprung'}\n", "utf-8")
        (trap / name).chmod(0o755)
    helped.run("git", "init", "--quiet", str(trap))

    listed = helped.run("git", "-C", str(trap), "ls-remote", server.url("project.git"))
    helped.run(sys.executable, "-c", "import json", stdin="")

    assert 0 == listed.returncode, listed.stderr
    assert not (helped.home / "sprung").exists()
    control = subprocess.run(
        [sys.executable, "-c", "import json"], cwd=trap, check=False, timeout=WAIT_SECONDS
    )
    assert (0, True) == (control.returncode, (helped.home / "sprung").exists())


def _message(**more: str) -> str:
    fields = {"protocol": "https", "host": "example.com", **more}
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def _wait_past(boottime_ns: int) -> None:
    """Return once the machine's clock has passed that moment, for which no event exists."""
    while time.clock_gettime_ns(time.CLOCK_BOOTTIME) <= boottime_ns:
        time.sleep(0.01)
