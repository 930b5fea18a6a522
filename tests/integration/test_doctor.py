"""`keylease doctor` on real machines: without a keychain, and with a locked, hung or good one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.leftovers import living_keys
from support.requirements import require
from support.secret_service import GnomeKeyring, require_gnome_keyring
from support.throwaway import Throwaway
from support.waiting import polls, wait_until

if sys.platform != "linux":
    pytest.skip("the keychains of these tests are Linux's", allow_module_level=True)

URL = "https://git.example"
CANARY = "hunter2-canary-7f3a"
STDIN = ("--username", "ada", "--password-stdin")
SECONDS = 15
"""doctor gives a keychain 3 s; the rest is for a slow machine."""


def login(home):
    """Start a session."""
    done = home.run("keylease", "login", URL, *STDIN, stdin=CANARY)
    assert (0, "") == (done.returncode, done.stderr)


def examine(home, *before):
    """Return the exit code, and the verdict and text of each check.

    Args:
        home: Where.
        before: A command that runs the program with less than this machine has.
    """
    words = (*before, "keylease", "doctor", "--json")
    done = home.run(*words, timeout_seconds=SECONDS)
    assert "" == done.stderr
    found = {}
    for each in json.loads(done.stdout)["checks"]:
        found.setdefault(each["check"], []).append((each["verdict"], each["found"]))
        # Every failed check has a remedy, and no passed check has one.
        assert (each["verdict"] != "ok") == (each["remedy"] is not None), each
    return done.returncode, found


def test_good_keychain(desktop):
    """With and without a vault every check passes, and doctor changes no file."""
    code, found = examine(desktop.home)
    assert (0, "ok") == (code, found["keychain"][0][0])
    assert not desktop.home.state.exists()
    login(desktop.home)
    desktop.home.run("keylease", "setup", "git")
    before = sorted((str(path), path.stat().st_mtime_ns) for path in desktop.home.state.rglob("*"))

    code, found = examine(desktop.home)

    assert 0 == code
    title = "Secret Service (secret-service) is unlocked, and the vault is pinned to it"
    assert [("ok", title)] == found["keychain"]
    for name in ("state", "vault", "configuration", "clock", "git", "plaintext"):
        assert {"ok"} == {verdict for verdict, _ in found[name]}, found[name]
    after = sorted((str(path), path.stat().st_mtime_ns) for path in desktop.home.state.rglob("*"))
    assert before == after
    assert not desktop.keyring.prompted


@pytest.mark.parametrize("made", [False, True], ids=["no vault", "vault"])
def test_locked_keychain(desktop, made):
    """With a locked keychain doctor fails with the remedy and neither prompts nor tries another."""
    if made:
        login(desktop.home)
    desktop.keyring.lock()

    code, found = examine(desktop.home)

    desktop.keyring.unlock()  # for the home, which deletes its keys
    assert 1 == code
    [(verdict, said)] = found["keychain"]
    assert "fail" == verdict
    assert "locked" in said
    assert not desktop.keyring.prompted


@pytest.mark.parametrize("made", [False, True], ids=["no vault", "vault"])
def test_hung_keychain(desktop, made):
    """doctor gives up on a hung keychain after seconds."""
    if made:
        login(desktop.home)
    desktop.keyring.stop()
    began = time.monotonic()
    try:
        code, found = examine(desktop.home)
    finally:
        desktop.keyring.resume()

    assert time.monotonic() - began < SECONDS
    assert (1, "fail") == (code, found["keychain"][0][0])


@pytest.mark.parametrize("number", ["EPERM", "ENOSYS"])
def test_neither_a_desktop_nor_the_kernel_keyring(kernel_home, number):
    """In a container doctor says for each keychain what it lacks, and suggests a fitting remedy."""
    refused = Path(__file__).parent.parent / "support" / "refused_keys.py"
    kernel_home.environment.pop("KEYLEASE_KEYCHAIN", None)
    before = (sys.executable, refused, number)

    code, found = examine(kernel_home, *before)
    lines = kernel_home.run(*before, "keylease", "doctor").stdout.splitlines()

    assert 1 == code
    [(verdict, said)] = found["keychain"]
    assert "fail" == verdict
    assert "secret-service: this login has no session bus" in said
    assert "kernel: the Linux kernel keyring cannot be used" in said
    (at,) = (number for number, line in enumerate(lines) if line.startswith("fail"))
    remedy = (
        "remedy: log in to a desktop with a Secret Service, or let this process use the kernel"
        " keyring (in a container: add_key and keyctl in its seccomp profile), or name a keychain"
        " with --keychain or KEYLEASE_KEYCHAIN"
    )
    assert remedy == lines[at + 1].strip()
    assert ["warn"] == [verdict for verdict, _ in found["shares"]]
    assert not kernel_home.state.exists()


def test_no_secret_service(tmp_path):
    """On a desktop without the configured keychain doctor fails and says how to choose another."""
    require_gnome_keyring()
    with GnomeKeyring(initialised=False, activatable=False) as keyring:
        environment = {
            "DBUS_SESSION_BUS_ADDRESS": keyring.environment["DBUS_SESSION_BUS_ADDRESS"],
            "KEYLEASE_KEYCHAIN": "secret-service",
        }
        with Throwaway(tmp_path, environment) as home:
            code, found = examine(home)
            words = home.run("keylease", "doctor").stdout

            assert 1 == code
            assert "fail" == found["keychain"][0][0]
            assert "remedy: name another one with --keychain or KEYLEASE_KEYCHAIN" in words
            assert not home.state.exists()


def test_deleted_key_is_found_and_nothing_is_destroyed(desktop):
    """doctor reports a revocation and ends no session; that happens at the next request."""
    login(desktop.home)
    desktop.home.delete_keys()

    code, found = examine(desktop.home)

    assert (0, "warn") == (code, found["vault"][0][0])
    assert 1 == len(list(desktop.home.state.glob("sessions/*/*.sealed")))


def test_plaintext_files_are_named_and_not_shown(kernel_home):
    """On a shared screen the output of doctor shows paths and no secrets."""
    (kernel_home.home / ".git-credentials").write_text(f"https://ada:{CANARY}@git.example\n")

    done = kernel_home.run("keylease", "doctor")

    assert 0 == done.returncode
    assert ".git-credentials (git) holds a password or token in plaintext" in done.stdout
    assert CANARY not in done.stdout + done.stderr


def pins():
    """Return the pins of audit logs that the kernel has for this user."""
    keys = living_keys(Path("/proc/keys").read_text("utf-8", "replace"), os.getuid())
    return {key for key in keys if ":audit-pin:" in key.name}


@pytest.mark.parametrize("place", ["kernel_home", "desktop"])
def test_memory_is_searched_and_nothing_is_left_behind(request, place):
    """`doctor --memory` finds no secret in the helper, and deletes its own keys and files."""
    found = request.getfixturevalue(place)
    home = found.home if place == "desktop" else found
    home.environment["TMPDIR"] = str(home.home)
    before = pins()

    done = home.run("keylease", "doctor", "--memory", "--json", timeout_seconds=SECONDS * 2)

    said = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "memory"]
    require("ptrace" not in str(said), "ptrace", "no process may be traced here")
    assert ["ok"] * 5 == [each["verdict"] for each in said], said
    assert "a crash leaves no core file (the limit is 0)" == said[1]["found"]
    assert "your other programs cannot read the helper's memory" == said[2]["found"]
    assert "no audit key, password, refresh token" in said[3]["found"]
    assert "of files that the helper cannot change" in said[4]["found"]
    assert "an ordinary program left the password" in said[4]["found"]
    assert [] == list(home.home.rglob("*"))
    # The pins of other programs come and go; a pin of doctor's would stay until the next boot.
    wait_until(lambda: pins() <= before, "doctor's audit log leaves no pin in the kernel")
    if place == "desktop":
        assert "" == items(home)
        login(home)
        assert "keylease:" in items(home), "the control: a key would be seen"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_search_that_is_ended_leaves_nothing_either(kernel_home, name):
    """`doctor --memory` leaves no state directory behind when it is interrupted."""
    kernel_home.environment["TMPDIR"] = str(kernel_home.home)
    process = subprocess.Popen(
        [kernel_home.find("keylease"), "doctor", "--memory"],
        env=kernel_home.environment,
        cwd=kernel_home.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in polls("doctor begins to search"):
        if list(kernel_home.home.glob("keylease-doctor-*/state/*")):
            break
        require(process.poll() is None, "ptrace", "it ended before it could be ended")

    process.send_signal(getattr(signal, name))

    assert 130 == process.wait(SECONDS)
    assert [] == list(kernel_home.home.rglob("*"))


def items(home):
    """Return keylease's items in the home's Secret Service."""
    require(shutil.which("secret-tool"), "secret-service", "secret-tool is not on PATH")
    done = home.run("secret-tool", "search", "--all", "application", "keylease")
    return done.stdout + done.stderr
