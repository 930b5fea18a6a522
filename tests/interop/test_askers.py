"""Programs that ask keylease-askpass again after a wrong answer get that answer only once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.git_server import GitServer, find_git
from support.requirements import VARIABLE, require
from support.waiting import WAIT_SECONDS
from support.web_server import Answer, WebServer

if TYPE_CHECKING:
    from pathlib import Path

    from support.throwaway import Throwaway

if sys.platform == "win32":
    pytest.skip("the clients are those of POSIX", allow_module_level=True)

WRONG = "not the passphrase"
RIGHT = "correct horse battery staple"
SECONDS = 60
"""Time limit of a program, because a failing one would ask for ever."""
ASKPASS = "SSH_ASKPASS=keylease-askpass SSH_ASKPASS_REQUIRE=force"


def login(home: Throwaway, url: str, password: str) -> None:
    """Start a session, or fail."""
    words = ("--username", "ada", "--password-stdin")
    done = home.run("keylease", "login", url, *words, stdin=password)
    assert (0, "") == (done.returncode, done.stderr)


def type_in(home: Throwaway, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script, and fail if it does not end."""
    return home.run("bash", "-c", script, timeout_seconds=SECONDS)


def count(home: Throwaway, event: str) -> int:
    """Return how many lines the audit log has of one event."""
    return [line["event"] for line in home.audit()].count(event)


@pytest.fixture
def keys(kernel_home: Throwaway) -> Throwaway:
    """Return a home with two keys that have the same passphrase."""
    require(shutil.which("ssh-add"), "ssh-add", "it is not on PATH")
    for name in ("one", "two"):
        script = f"ssh-keygen -q -t ed25519 -f {name} -N '{RIGHT}'"
        assert 0 == type_in(kernel_home, script).returncode
    return kernel_home


# The agent ends with the script, because `ssh-agent COMMAND` runs it as a child.
SSH_ADD = f"{ASKPASS} KEYLEASE_ASKPASS_KEY=ssh-key://laptop ssh-agent bash -c 'ssh-add one two'"


def test_ssh_add_gets_a_wrong_passphrase_once(keys: Throwaway) -> None:
    """`ssh-add` repeats its question, and gets a wrong passphrase once for each key."""
    login(keys, "ssh-key://laptop", WRONG)

    done = type_in(keys, SSH_ADD)

    assert done.returncode != 0
    assert "the question says that the last passphrase was wrong" in done.stderr
    assert count(keys, "session.released") <= 2


def test_ssh_add_gets_a_right_passphrase_for_every_key(keys: Throwaway) -> None:
    """`ssh-add` gets the passphrase for both keys, and so does the next `ssh-add`."""
    login(keys, "ssh-key://laptop", RIGHT)

    for _ in range(2):
        done = type_in(keys, SSH_ADD)
        assert 0 == done.returncode, done.stderr
        assert 2 == done.stderr.count("Identity added")


def test_ssh_keygen_gets_a_wrong_passphrase_once(keys: Throwaway) -> None:
    """A program that asks once is answered at each run."""
    login(keys, "ssh-key://laptop", RIGHT)
    script = f"{ASKPASS} KEYLEASE_ASKPASS_KEY=ssh-key://laptop ssh-keygen -y -f one"

    assert [0, 0] == [type_in(keys, script).returncode for _ in range(2)]


def test_git_is_answered_at_each_run_and_refused_at_none(
    kernel_home: Throwaway, tmp_path: Path
) -> None:
    """Each of three runs of git is answered, and each sends a wrong password only once."""
    require(find_git(), "git-http", "no git here can serve HTTP")
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as server:
        server.add_repository("project.git", {"README": "read me\n"})
        server.allow("ada", RIGHT)
        url = f"http://{server.host}"
        command = f"GIT_ASKPASS=keylease-askpass git ls-remote {url}/project.git HEAD"
        login(kernel_home, url, RIGHT)
        assert [0] * 3 == [type_in(kernel_home, command).returncode for _ in range(3)]
        assert 3 == count(kernel_home, "session.released")
        server.allow("ada", "another")
        server.forget()

        done = type_in(kernel_home, command)

        assert done.returncode != 0
        assert 1 == sum(seen.username == "ada" for seen in server.seen())


def test_git_lfs_gets_a_wrong_password_once(kernel_home: Throwaway) -> None:
    """git-lfs asks again after each refusal, and the server sees a wrong password once."""
    require(shutil.which("git-lfs"), "git-lfs", "it is not on PATH")
    refused = Answer(401, headers=(("WWW-Authenticate", 'Basic realm="rig"'),))
    with WebServer(lambda _: refused) as server:
        login(kernel_home, server.url, WRONG)

        done = type_in(
            kernel_home,
            f"git init -q here && cd here && git remote add origin {server.url}/project.git && "
            "GIT_ASKPASS=keylease-askpass git lfs locks",
        )

        tries = [seen for seen in server.seen if seen.authorization]
    assert done.returncode != 0
    assert 1 == len(tries)
    assert 1 == count(kernel_home, "session.released")
    assert "this process received the secret for " in done.stderr


def test_sudo_gets_a_wrong_password_once(kernel_home: Throwaway) -> None:
    """`sudo -A` asks three times, and tries the wrong password once."""
    require(shutil.which("sudo"), "sudo", "it is not on PATH")
    if VARIABLE not in os.environ:
        pytest.skip("it tries a wrong password of the account that runs the tests")
    if (
        os.geteuid() == 0
        or subprocess.run(["sudo", "-n", "true"], check=False, timeout=WAIT_SECONDS).returncode == 0
    ):
        pytest.skip("sudo asks this user nothing")
    login(kernel_home, "sudo://laptop", WRONG)
    program = kernel_home.find("keylease-askpass")

    done = type_in(
        kernel_home, f"KEYLEASE_ASKPASS=sudo://laptop SUDO_ASKPASS={program} sudo -k -A true"
    )

    assert done.returncode != 0
    assert 1 == count(kernel_home, "session.released")
