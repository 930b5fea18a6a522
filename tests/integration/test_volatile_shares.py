"""A session's end in real time: the kernel deletes its share, and no copy of a file helps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.kernel_keyring import require_kernel_keyring, require_keyctl
from support.requirements import require
from support.waiting import WAIT_SECONDS

from keylease.errors import WrongKeyError
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
from keylease.shares.kernel import KernelShares
from keylease.store import seal
from keylease.store.format import Header
from keylease.system.clock import Deadline

URL = "https://git.example"
CANARY = "hunter2-canary-5b1e"
QUESTION = "protocol=https\nhost=git.example\n\n"
ANSWER = f"password={CANARY}\n"
PATIENCE_SECONDS = 30
MEMORY = "/dev/shm"  # noqa: S108 - each test has a directory of its own in it


@pytest.fixture
def home(kernel_home):
    """Return a home on the kernel keyring."""
    return kernel_home


@pytest.fixture
def memory():
    """Return a directory on a file system in memory, like a login's runtime directory."""
    require(os.path.ismount(MEMORY), "linux", f"there is no {MEMORY}")
    root = Path(tempfile.mkdtemp(prefix="keylease-", dir=MEMORY))
    yield root
    shutil.rmtree(root)


@pytest.fixture
def desk(desktop):
    """Return a home with its vault elsewhere, so that only its shares need the kernel keyring."""
    require_kernel_keyring()
    return desktop.home


def login(home, *words, wrapper=()):
    """Start a session with the canary as its password."""
    done = home.run(
        *wrapper, "keylease", "login", URL, "--username", "ada", "--password-stdin", *words,
        stdin=CANARY,
    )  # fmt: skip
    assert 0 == done.returncode
    assert wrapper or done.stderr == ""


def get(home, *wrapper):
    """Return git's answer."""
    return home.run(*wrapper, "keylease", "get", stdin=QUESTION).stdout


def ends(home):
    """Return for each live session what enforces its end, as status shows it."""
    document = json.loads(home.run("keylease", "status", "--json").stdout)
    return [session["end"] for session in document["sessions"]]


def reasons(home):
    """Return why sessions have ended, from the log."""
    return [line["reason"] for line in home.audit() if line["event"] == "session.ended"]


def sealed(home):
    """Return the only sealed file."""
    (file,) = home.state.glob("sessions/*/*.sealed")
    return file


def vault_key(home):
    """Return the vault key, as any reader of the keychain gets it."""
    vault = home.vault()
    item = Item(vault["vault"], "session-key", vault["generation"])
    (key,) = open_keystore(vault["keychain"], Deadline(10)).read([item])
    return key


def listed(session):
    """Return the kernel's line for the session's share; empty if there is none."""
    lines = Path("/proc/keys").read_text("utf-8").splitlines()
    return next((line for line in lines if session in line), "")


def wait_until(holds, what):
    """Wait until the condition holds, or fail."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < PATIENCE_SECONDS, what


def wait_for_death(session):
    """Wait until the kernel deletes the session's share by itself."""
    wait_until(lambda: KernelShares().read(session) is None, "the share was to die by itself")


def test_end_in_real_time_leaves_nothing_to_open(home, tmp_path):
    """After the end no file, copy or key brings the password back, and each attempt is logged."""
    require_keyctl()
    login(home, "--timeout", "2")
    file = sealed(home)
    kept, copy = file.read_bytes(), tmp_path / "copy"
    shutil.copytree(home.state, copy)
    share = KernelShares().read(file.stem)
    assert seal.open_label(seal.Keys(vault_key(home), share), kept), "the control: now it opens"
    serial = listed(file.stem).split()[0]

    wait_for_death(file.stem)

    # keylease has not run since: the end came without it.
    assert file.exists()
    line = listed(file.stem)
    assert not line or "expd" in line.split()
    read = subprocess.run(
        ["keyctl", "pipe", f"0x{serial}"],
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert (b"", True) == (read.stdout, read.returncode != 0)
    with pytest.raises(WrongKeyError):
        seal.open_label(seal.Keys(vault_key(home)), kept)

    assert "" == get(home)
    assert not file.exists()
    assert ["idle"] == reasons(home)
    wait_until(lambda: not listed(file.stem), "a session that ended takes its share off the list")

    shutil.rmtree(home.state)
    shutil.copytree(copy, home.state)
    assert [] == reasons(home), "the control: the log was put back, too"
    assert "" == get(home)
    assert ["idle"] == reasons(home)
    assert not file.exists()


def test_copy_that_is_put_back_after_a_logout_is_tampering(home, tmp_path):
    """A restored copy does not undo a logout, and the attempt is logged."""
    login(home)
    copy = tmp_path / "copy"
    shutil.copytree(home.state, copy)
    file = sealed(home)
    assert 0 == home.run("keylease", "logout", URL).returncode
    wait_until(lambda: not listed(file.stem), "a logout destroys the share at once")

    shutil.rmtree(home.state)
    shutil.copytree(copy, home.state)

    assert file.exists(), "the control: it is there again"
    assert "" == get(home)
    assert ["tampered"] == reasons(home)
    assert not file.exists()


def test_each_use_gives_the_share_its_time_again(home):
    """The kernel's timeout follows the idle timeout and never exceeds the session's end.

    The credential here expires in a minute, long before the idle timeout.
    """
    expiry = int(time.time()) + 60
    brought = f"{QUESTION[:-1]}username=ada\npassword={CANARY}\n"
    assert 0 == home.run("keylease", "store", stdin=f"{brought}\n").returncode
    usual = sealed(home)
    assert re.search(r" 1[45]m ", listed(usual.stem))
    home.run("keylease", "logout", "--all")

    limited = f"{brought}password_expiry_utc={expiry}\n\n"
    assert 0 == home.run("keylease", "store", stdin=limited.replace(CANARY, "x")).returncode
    for _ in range(2):
        assert re.search(r" (1m|\d\d?s) ", listed(sealed(home).stem))
        assert "password=x\n" in get(home)


def test_another_login_of_the_same_user_uses_the_session(home):
    """A session started at the desk answers a job without a terminal, which extends it."""
    require_keyctl()
    login(home)

    for wrapper in (("keyctl", "session", "-"), ("setsid", "--wait")):
        assert ANSWER in get(home, *wrapper)
        assert 0 == home.run(*wrapper, "keylease", "extend", URL).returncode
    login(home, wrapper=("keyctl", "session", "-"))
    assert ANSWER in get(home)
    assert ["erased"] == ends(home)


REFUSED_KEYS = Path(__file__).parent.parent / "support" / "refused_keys.py"


def refused(error):
    """Return a command prefix for which the kernel refuses its keyring."""
    return (sys.executable, str(REFUSED_KEYS), error)


@pytest.mark.parametrize("error", ["EPERM", "EDQUOT", "ENOSYS"])
def test_where_the_kernel_takes_no_share_the_runtime_directory_does(desk, memory, error):
    """With the calls forbidden or the quota used up, the next best place takes the share."""
    desk.environment["XDG_RUNTIME_DIR"] = str(memory)

    login(desk, wrapper=refused(error))

    header = Header.unpack(sealed(desk).read_bytes())
    (share,) = memory.glob("keylease-*/*.share")
    assert (2, header.id) == (header.share, share.stem)
    assert (0o600, 0o700) == (share.stat().st_mode & 0o777, share.parent.stat().st_mode & 0o777)
    assert ["policy"] == ends(desk)
    assert ANSWER in get(desk)
    assert ANSWER in get(desk, *refused(error))

    assert 0 == desk.run("keylease", "logout", URL).returncode
    assert not share.exists()


def test_gc_takes_a_share_that_lost_its_session(desk, memory):
    """A share in a file does not expire by itself; a sweep deletes it when its session is lost."""
    desk.environment["XDG_RUNTIME_DIR"] = str(memory)
    login(desk, wrapper=refused("EPERM"))
    sealed(desk).unlink()
    login(desk, wrapper=refused("EPERM"))
    assert 2 == len(list(memory.glob("keylease-*/*.share")))

    done = desk.run("keylease", "gc")

    assert (0, "") == (done.returncode, done.stderr)
    assert "1 volatile share" in done.stdout
    (share,) = memory.glob("keylease-*/*.share")
    assert sealed(desk).stem == share.stem
    assert ANSWER in get(desk)


def test_revocation_destroys_the_shares(home):
    """`keylease revoke` deletes every share at once, instead of waiting for its timeout."""
    login(home)
    file = sealed(home)

    assert 0 == home.run("keylease", "revoke", "--yes").returncode

    wait_until(lambda: not listed(file.stem), "it is invalidated, not left to its time-out")


@pytest.mark.parametrize("where", ["nowhere", "on a disk"])
def test_where_nothing_forgets_the_end_is_a_policy(desk, tmp_path, where):
    """Without a volatile place the session starts all the same, and `status` says so."""
    if where == "nowhere":
        del desk.environment["XDG_RUNTIME_DIR"]
    else:
        disk = subprocess.run(
            ["stat", "-f", "-c", "%T", tmp_path],
            capture_output=True,
            text=True,
            check=True,
            timeout=WAIT_SECONDS,
        )
        require(disk.stdout.strip() != "tmpfs", "linux", "the tests' own directory is in memory")

    login(desk, wrapper=refused("EPERM"))

    assert 0 == Header.unpack(sealed(desk).read_bytes()).share
    assert [] == list(tmp_path.rglob("*.share"))
    assert ["policy"] == ends(desk)
    assert ANSWER in get(desk)


def test_each_session_says_how_it_ends(desk):
    """Sessions with a share in the kernel and sessions without one work side by side."""
    login(desk)
    words = ("--username", "ada", "--password-stdin")
    done = desk.run(
        *refused("EPERM"), "keylease", "login", "https://two.example", *words, stdin=CANARY
    )
    assert 0 == done.returncode

    assert ["erased", "policy"] == ends(desk)


@pytest.mark.parametrize("way", ["another user namespace", "a filter", "another runtime directory"])
def test_place_that_cannot_see_the_share_ends_nothing(desk, memory, way):
    """In a container nothing is released and nothing is lost; outside it git is answered."""
    if way == "another runtime directory":
        desk.environment["XDG_RUNTIME_DIR"] = str(memory)
        login(desk, wrapper=refused("EPERM"))
        (memory / "other").mkdir(mode=0o700)
        wrapper = ("env", f"XDG_RUNTIME_DIR={memory / 'other'}")
    elif way == "a filter":
        login(desk)
        wrapper = refused("EPERM")
    else:
        login(desk)
        # Under the same number, or the bus would refuse the connection.
        wrapper = ("unshare", "--user", "--map-current-user")
        require(desk.find("unshare"), "user-namespace", "unshare is not on PATH")
        can = desk.run(*wrapper, "true")
        require(can.returncode == 0, "user-namespace", "this kernel lets nobody make one")

    assert "" == get(desk, *wrapper)
    said = desk.run(*wrapper, "keylease", "status")

    assert 6 == said.returncode
    assert "keylease: hint: run keylease where the session was started" in said.stderr
    assert [] == reasons(desk)
    assert ANSWER in get(desk)


def test_another_login_without_the_runtime_directory_cannot_open_a_copy(desk, memory, tmp_path):
    """When the login's runtime directory is gone, file and vault key together open nothing."""
    desk.environment["XDG_RUNTIME_DIR"] = str(memory)
    login(desk, "--timeout", "2", wrapper=refused("EPERM"))
    shutil.rmtree(next(memory.glob("keylease-*")))

    assert "" == get(desk)
    kept = sealed(desk).read_bytes()
    with pytest.raises(WrongKeyError):
        seal.open_label(seal.Keys(desk_key(desk)), kept)
    wait_until(lambda: get(desk) or not list(desk.state.glob("sessions/*/*.sealed")), "its time")
    assert ["idle"] == reasons(desk)
    assert not list(tmp_path.rglob("*.share"))


def desk_key(desk):
    """Read the vault key from the Secret Service with the platform's own tool."""
    require(desk.find("secret-tool"), "secret-service", "secret-tool is not on PATH")
    from base64 import b64decode  # noqa: PLC0415 - the tool's encoding, of no use elsewhere

    from keylease.secrets.secret import Secret  # noqa: PLC0415 - the same

    words = ("secret-tool", "lookup", "service", desk.service(), "username", "keylease")
    return Secret(b64decode(desk.run(*words).stdout))
