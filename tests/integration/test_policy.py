"""The machine's policy over its user, with real programs: five minutes, a forgery, revocation.

The policy has one fixed path. No variable moves it, because a user could set the variable. So these
programs see their own /etc in a mount namespace that ends with them (unshare(1)); the machine's
/etc is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.requirements import require
from support.waiting import WAIT_SECONDS

URL = "https://git.example"
QUESTION = "protocol=https\nhost=git.example\n\n"
CANARY = "hunter2-canary-7f3a"
# What programs read from /etc to start, to know their user and to find a host.
NEEDED = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "hosts", "localtime")
ENTER = 'mount --bind "$0" /etc && exec "$@"'


class Machine:
    """A home on a machine whose /etc the test fills."""

    def __init__(self, home, etc):
        self.home = home
        self.policy = etc / "keylease" / "policy.toml"
        self._etc = etc

    def run(self, *words, stdin=""):
        """Run a program with that /etc."""
        program = self.home.find(words[0])
        inside = ("unshare", "--mount", "sh", "-c", ENTER, self._etc, program)
        return self.home.run(*inside, *words[1:], stdin=stdin)

    def login(self, *words):
        """Start a session."""
        words = ("keylease", "login", URL, "--username", "ada", "--password-stdin", *words)
        return self.run(*words, stdin=CANARY)

    def get(self):
        """Ask as git does, and return the answer."""
        return self.run("git-credential-keylease", "get", stdin=QUESTION).stdout

    def rule(self, text, owner=0, mode=0o644):
        """Write the policy."""
        self.policy.parent.mkdir(mode=0o755, exist_ok=True)
        self.policy.write_text(text, "utf-8")
        self.policy.chmod(mode)
        os.chown(self.policy, owner, owner)


@pytest.fixture
def machine(kernel_home, tmp_path):
    """Return a machine without a policy, whose user configured an hour."""
    require(sys.platform == "linux" and os.geteuid() == 0, "root", "only root can own a policy")
    require(shutil.which("unshare"), "unshare", "it is not on PATH")
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    for name in NEEDED:
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc / name)
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ENTER, etc, "true"],
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    require(tried.returncode == 0, "unshare", f"no mounts here: {tried.stderr!a}")
    wish = kernel_home.home / ".config" / "keylease" / "config.toml"
    wish.parent.mkdir(mode=0o755, parents=True)
    wish.write_text("idle_timeout = 3600\n", "utf-8")
    wish.chmod(0o644)
    return Machine(kernel_home, etc)


def test_wish_counts_without_a_policy(machine):
    """The control: without a policy the user's hour is an hour."""
    assert "it ends after 1 h without use" in machine.login().stdout
    assert f"password={CANARY}\n" in machine.get()


def test_five_minutes_of_the_policy_beat_an_hour_of_the_user(machine, monkeypatch):
    """The policy shortens the hour, wherever the user set it: file, variable or command line."""
    machine.rule("idle_timeout = 300\n")
    monkeypatch.setitem(machine.home.environment, "KEYLEASE_IDLE_TIMEOUT", "3600")

    for words in ((), ("--timeout", "3600")):
        assert "it ends after 5 min without use" in machine.login(*words).stdout
    assert f"password={CANARY}\n" in machine.get()
    shown = machine.run("keylease", "config", "show").stdout.splitlines()[1].split()
    assert "idle_timeout 300 /etc/keylease/policy.toml 3600, KEYLEASE_IDLE_TIMEOUT" == " ".join(
        shown
    )


def test_policy_shortens_a_session_that_is_there(machine):
    """A session of one hour ends after ten minutes when a new policy says five."""
    machine.login()
    machine.rule("idle_timeout = 300\n")

    status = machine.run("keylease", "status", URL).stdout

    assert " of 5 min\n" in status


@pytest.mark.parametrize(
    ("owner", "mode", "said"),
    [
        (12345, 0o644, "belongs to user 12345, not to user 0, so it is not trusted"),
        (0, 0o666, "has mode 0666: others can write it, so it is not trusted"),
    ],
)
def test_policy_that_a_user_could_have_written_is_refused(machine, owner, mode, said):
    """An untrusted policy is neither obeyed nor ignored: keylease releases nothing and says why."""
    machine.login()
    machine.rule("idle_timeout = 300\n", owner, mode)

    assert "" == machine.get()
    done = machine.run("keylease", "status")
    assert 8 == done.returncode
    assert f"keylease: error: /etc/keylease/policy.toml {said}\n" in done.stderr
    assert "config" == machine.home.audit()[-1]["reason"]
    assert 0 == machine.run("keylease", "logout", URL).returncode


def test_revocation_stops_release_at_once(machine):
    """The first request after a revocation by policy is refused, and the session is gone."""
    machine.login()
    assert f"password={CANARY}\n" in machine.get()
    machine.rule("revoked = true\n")

    assert "" == machine.get()
    assert [] == list(machine.home.state.glob("sessions/*/*.sealed"))
    assert [("session.ended", "revoked"), ("session.refused", "policy")] == [
        (line["event"], line["reason"]) for line in machine.home.audit()[-2:]
    ]
    assert 9 == machine.login().returncode
    machine.policy.unlink()
    assert "" == machine.get(), "what was ended stays ended"
    assert 0 == machine.login().returncode
    assert f"password={CANARY}\n" in machine.get()


def test_revocation_of_one_server_leaves_the_others(machine):
    """The policy stops only the targets that it names."""
    machine.login()
    machine.rule('[target."https://other.example"]\nrevoked = true\n')
    assert f"password={CANARY}\n" in machine.get()

    machine.rule(f'[target."{URL}"]\nrevoked = true\n')
    assert "" == machine.get()


def test_variables_do_not_lead_around_the_policy(machine, monkeypatch, tmp_path):
    """No setting of a user moves the policy's path."""
    machine.login()
    machine.rule("revoked = true\n")
    for name in ("XDG_CONFIG_DIRS", "XDG_CONFIG_HOME", "HOME", "KEYLEASE_POLICY", "PROGRAMDATA"):
        monkeypatch.setitem(machine.home.environment, name, str(tmp_path / "nowhere"))
    monkeypatch.setitem(machine.home.environment, "KEYLEASE_STATE_DIR", str(machine.home.state))

    assert "" == machine.get()
    done = machine.run("keylease", "config", "path", "--policy")
    assert "/etc/keylease/policy.toml\n" == done.stdout
