"""A real container with its own boot id that shares the machine's home."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.requirements import require

from keylease.system.clock import BootClock

if TYPE_CHECKING:
    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("boot_id and namespaces are Linux's", allow_module_level=True)

PASSWORD = "correct horse battery staple"
QUESTION = "protocol=https\nhost=git.example\n\n"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def in_container(home: Throwaway, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of the home under another boot_id, as nspawn and LXC set it."""
    made = home.home.parent / "boot_id"
    made.write_text("01234567-89ab-4cde-8f01-23456789abcd\n", encoding="ascii")
    script = f'mount --bind "{made}" {BOOT_ID} && exec "$0" "$@"'
    return home.run("unshare", "--mount", "sh", "-c", script, *words, stdin=stdin)


@pytest.fixture
def machine(home: Throwaway) -> Throwaway:
    """Return a home with a live session, where a container can be made over it."""
    require(shutil.which("unshare"), "unshare", "it is not on PATH")
    if in_container(home, "true").returncode != 0:
        pytest.skip("this user may not mount anything over /proc, which takes root")
    assert (
        0
        == home.run(
            "keylease",
            "login",
            "https://git.example",
            "--username",
            "ada",
            "--password-stdin",
            stdin=PASSWORD,
        ).returncode
    )
    return home


def files(home: Throwaway) -> dict[str, bytes]:
    """Return every file of the state but the audit log and the time of the last sweep."""
    paths = [path for path in home.state.rglob("*") if path.is_file()]
    kept = [path for path in paths if path.parent.name != "audit" and path.name != "swept"]
    return {str(path): path.read_bytes() for path in kept}


def test_container_gets_nothing_and_ends_nothing(machine: Throwaway) -> None:
    """In a container nothing is released, and commands that only read end no session."""
    before = files(machine)

    got = in_container(machine, "git-credential-keylease", "get", stdin=QUESTION)
    read = in_container(machine, "keylease", "read", "https://git.example")
    for words in (("status",), ("gc",), ("doctor",)):
        in_container(machine, "keylease", *words)

    assert ("", "") == (got.stdout, got.stderr)
    assert (6, "") == (read.returncode, read.stdout)
    assert "belongs to another boot, which may still be running" in read.stderr
    assert before == files(machine)
    assert "session.ended" not in [line["event"] for line in machine.audit()]
    assert PASSWORD in machine.run("keylease", "read", "https://git.example").stdout


def test_container_begins_no_new_vault(machine: Throwaway) -> None:
    """A tool that stores in the container makes no new vault, and the machine's session lives."""
    vault = machine.vault()
    typed = QUESTION.replace("\n\n", "\nusername=ada\npassword=typed\n\n")

    in_container(machine, "git-credential-keylease", "store", stdin=typed)

    assert vault == machine.vault()
    assert PASSWORD in machine.run("keylease", "read", "https://git.example").stdout


def test_logout_in_a_container_is_meant(machine: Throwaway) -> None:
    """A logout in the container ends the session for the machine, too."""
    done = in_container(machine, "keylease", "logout", "https://git.example")

    assert 0 == done.returncode, done.stderr
    assert 3 == machine.run("keylease", "read", "https://git.example").returncode


def test_clock_of_a_time_namespace_is_the_machines() -> None:
    """A boot clock changed in a time namespace moves the end of no session."""
    require(shutil.which("unshare"), "unshare", "it is not on PATH")
    script = "from keylease.system.clock import BootClock; print(BootClock().now().boot_ns)"
    command = ["unshare", "--user", "--map-root-user", "--time", "--boottime", "100000", "--fork"]
    before = BootClock().now().boot_ns
    done = subprocess.run(
        [*command, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no time namespace can be made here: {done.stderr.strip()}")

    assert before <= int(done.stdout) <= BootClock().now().boot_ns
