"""Tools that run a command for a password, or a program that answers their question."""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, wait_until
from support.git_server import GitServer, find_git
from support.requirements import require
from support.web_server import Answer, WebServer

if TYPE_CHECKING:
    import subprocess

    from support.throwaway import Throwaway

if sys.platform == "win32":
    pytest.skip("the clients are those of POSIX", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal

PASSWORD = "correct horse battery staple"
ENDED = "has ended: "


class Tool(NamedTuple):
    """What a tool is told to do, as shell commands."""

    url: str
    """The URL of the session."""
    first: str
    """Makes a file or store that only the password opens."""
    then: str
    """Opens it."""
    refused: str
    """The tool's message without a session."""


TOOLS = {
    "restic": Tool(
        "backup://laptop",
        "export RESTIC_PASSWORD_COMMAND='keylease read backup://laptop'; restic init -q -r repo",
        "export RESTIC_PASSWORD_COMMAND='keylease read backup://laptop'; restic snapshots -r repo",
        "Resolving password failed: exit status 3",
    ),
    "borg": Tool(
        "backup://laptop",
        "export BORG_PASSCOMMAND='keylease read backup://laptop'; borg init -e repokey repo",
        "export BORG_PASSCOMMAND='keylease read backup://laptop'; borg info repo",
        "passcommand supplied in BORG_PASSCOMMAND failed: ",
    ),
    "rclone": Tool(
        "rclone://laptop",
        "rclone --password-command 'keylease read rclone://laptop' config create -q other local",
        "rclone --password-command 'keylease read rclone://laptop' listremotes",
        "password command failed: exit status 3",
    ),
    "ansible-vault": Tool(
        "ansible://dev",
        "printf '#!/bin/sh\\nexec keylease read ansible://dev\\n' >vault-client; "
        "chmod +x vault-client; echo text >text; "
        "ansible-vault encrypt --vault-id dev@vault-client --output sealed text",
        "ansible-vault view --vault-id dev@vault-client sealed",
        "returned non-zero (3)",
    ),
    "ssh-keygen": Tool(
        "ssh-key://laptop",
        'ssh-keygen -q -t ed25519 -f key -N "$(keylease read ssh-key://laptop)"',
        "SSH_ASKPASS=keylease-askpass SSH_ASKPASS_REQUIRE=force "
        "KEYLEASE_ASKPASS_KEY=ssh-key://laptop ssh-keygen -y -f key",
        "incorrect passphrase supplied to decrypt private key",
    ),
}


class Shell(NamedTuple):
    """A home, and a user who types there."""

    home: Throwaway

    def type(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script without a user to answer questions."""
        return self.home.run("bash", "-c", script)

    def login(self, url: str) -> None:
        """Start a session, or fail."""
        words = ("--username", "ada", "--password-stdin")
        done = self.home.run("keylease", "login", url, *words, stdin=PASSWORD)
        assert (0, "") == (done.returncode, done.stderr)

    def type_after_the_end(self, url: str, script: str) -> subprocess.CompletedProcess[str]:
        """Start a session that ends soon, and run a script until it fails."""
        self.home.environment |= ENDS_SOON
        self.login(url)
        done: list[subprocess.CompletedProcess[str]] = []

        def over() -> bool:
            done[:] = [self.type(script)]
            return done[0].returncode != 0

        wait_until(over)
        return done[0]


@pytest.fixture
def shell(kernel_home: Throwaway) -> Shell:
    """Return a user in a home."""
    return Shell(kernel_home)


def encrypt_configuration(shell: Shell) -> None:
    """Encrypt rclone's configuration; rclone reads the new password only from a terminal."""
    assert 0 == shell.type("rclone config create -q here local").returncode
    with PseudoTerminal() as terminal:
        script = 'cd "$HOME"; exec </dev/tty >/dev/tty 2>&1; rclone config'
        process = terminal.start(["sh", "-c", script], shell.home.environment)
        for question, answer in (
            ("e/n/d/r/c/s/q> ", "s"),
            ("a/q> ", "a"),
            ("password:", PASSWORD),
            ("password:", PASSWORD),
            ("c/u/q> ", "q"),
            ("e/n/d/r/c/s/q> ", "q"),
        ):
            terminal.wait_for(question)
            terminal.type(f"{answer}\n".encode())
        assert 0 == terminal.finish(process)[0]
    text = (shell.home.home / ".config" / "rclone" / "rclone.conf").read_text("utf-8")
    assert "RCLONE_ENCRYPT_V0" in text


@pytest.mark.parametrize("name", TOOLS)
def test_session_opens_it_until_it_ends(shell: Shell, name: str) -> None:
    """The tool gets the password at each run; after the end it stops and shows why."""
    tool = TOOLS[name]
    path = shell.home.environment["PATH"]
    shell.home.environment["PATH"] = f"{path}:{Path(find_client(name)).parent}"
    if name == "rclone":
        encrypt_configuration(shell)
    shell.login(tool.url)
    first, second = shell.type(tool.first), shell.type(tool.then)
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert [] == holders(shell.home, PASSWORD)
    events = [line["event"] for line in shell.home.audit()]
    assert events.count("session.released") >= 2

    done = shell.type_after_the_end(tool.url, tool.then)

    said = " ".join((done.stdout + done.stderr).split())
    assert tool.refused in said
    assert ENDED in said


def test_curl_reads_it_from_a_pipe(shell: Shell) -> None:
    """curl logs in, and neither its command line nor a file has the password."""
    require(shutil.which("curl"), "curl", "it is not on PATH")
    encoded = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()

    def answer(asked):
        return Answer(200 if asked.authorization == f"Basic {encoded}" else 401)

    with WebServer(answer) as server:
        command = (
            f'keylease exec {server.url} --fd FD -- bash -c \'read -r pass <&"$FD"; '
            f'printf "user = \\"ada:%s\\"\\n" "$pass" | curl -sf -K - {server.url}/\''
        )
        assert shell.type(command).returncode != 0
        shell.login(server.url)

        done = shell.type(command)

    assert 0 == done.returncode, done.stderr
    assert [] == holders(shell.home, PASSWORD, encoded)


def test_git_is_answered_at_its_own_question(shell: Shell, tmp_path: Path) -> None:
    """With only GIT_ASKPASS set, git clones from the session, and fails after its end."""
    require(find_git(), "git-http", "no git here can serve HTTP")
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as server:
        server.add_repository("project.git", {"README": "read me\n"})
        server.allow("ada", PASSWORD)
        url = f"http://{server.host}"
        command = f"GIT_ASKPASS=keylease-askpass git ls-remote {url}/project.git HEAD"
        assert shell.type(command).returncode != 0
        shell.login(url)
        assert 0 == shell.type(command).returncode

        done = shell.type_after_the_end(url, command)

    assert ENDED in done.stderr
    assert "unable to read askpass response from 'keylease-askpass'" in done.stderr
