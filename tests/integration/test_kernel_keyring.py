"""The kernel keyring store on the real kernel: other sessions, other namespaces, refused calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.kernel_keyring import keyctl, require_kernel_keyring, require_keyctl
from support.requirements import require
from support.tracing import READABLE, require_strace

import keylease
from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores import choose
from keylease.keystores.base import Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline

SOURCE = str(Path(keylease.__file__).parent.parent)
KEY = bytes(range(224, 256))
OTHER_KEY = bytes(range(32))

# Another process does one operation and prints its outcome, never a key.
ASK = """
import sys
from keylease.errors import KeyleaseError
from keylease.keystores.base import Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.secrets.secret import Secret
operation, vault = sys.argv[1:]
item, key, store = Item(vault, "session-key", 1), Secret(bytes(range(224, 256))), KernelKeyStore()
try:
    if operation == "read":
        (found,) = store.read([item])
        print("absent" if found is None else "found" if found.matches(key) else "another key")
    elif operation == "instance":
        print(store.instance())
    elif operation == "add":
        store.add(item, key)
        print("added")
    elif operation == "delete":
        print("deleted" if store.delete(item) else "absent")
    elif operation == "probe":
        store.probe()
        print("can be used")
except KeyleaseError as error:
    print(type(error).__name__, error, sep=": ")
"""


@pytest.fixture
def item():
    """Return an item of an unused vault; its keys are deleted afterwards."""
    require_kernel_keyring()
    require_keyctl()
    item = Item(os.urandom(8).hex(), "session-key", 1)
    yield item
    keyctl("purge", "user", item.service, check=False)


@pytest.fixture
def store():
    """Return the store."""
    return KernelKeyStore()


def ask(operation, item, *wrapper, python=sys.executable):
    """Return the output of another process, started through `wrapper`."""
    told = subprocess.run(
        [*wrapper, python, "-c", ASK, operation, item.vault],
        env=os.environ | {"PYTHONPATH": SOURCE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=True,
    )
    return told.stdout.strip().rpartition("\n")[2]  # keyctl session prints its own line first


def serial(item):
    """Return the serial number of the item's key for keyctl(1)."""
    return keyctl("search", "@u", "user", item.service)


def absent(store, *items):
    """Return whether none of the items exists. A secret is never compared with `==`."""
    return all(key is None for key in store.read(items))


def holds(key, found):
    """Return whether the read returned this key."""
    return found is not None and found.matches(Secret(key))


SESSIONS = {
    "the same session": [],
    "a session keyring of its own, as a systemd service has": ["keyctl", "session", "-"],
    "a new process session": ["setsid", "--wait"],
    "an empty environment, as cron's": ["setsid", "--wait", "env", "-i", f"PYTHONPATH={SOURCE}"],
}


# What users and their tools see.


def test_keyctl_shows_the_key_itself(store, item):
    """The platform's own tool finds the key as 32 bytes under the service name."""
    store.add(item, Secret(KEY))

    found = subprocess.run(
        ["keyctl", "pipe", serial(item)], capture_output=True, check=True, timeout=20
    )

    assert KEY == found.stdout


def test_others_may_do_nothing_with_the_key(store, item):
    """Only the user's own processes have permissions; group and others have none."""
    store.add(item, Secret(KEY))

    permissions = keyctl("rdescribe", serial(item)).split(";")[3]

    assert "3f3f0000" == permissions


@pytest.mark.parametrize("session", [[], ["keyctl", "session", "-"]], ids=["here", "elsewhere"])
def test_the_removal_command_works_as_it_is_shown(store, item, session):
    """The command that status shows works in any shell of the user, and revokes."""
    neighbour = item._replace(generation=2)
    store.add(item, Secret(KEY))
    store.add(neighbour, Secret(OTHER_KEY))
    try:
        words = store.removal_command(item).split()
        subprocess.run([*session, *words], capture_output=True, check=True, timeout=20)

        assert absent(store, item)
        assert holds(OTHER_KEY, store.read([neighbour])[0])
    finally:
        store.delete(neighbour)


# Other sessions of the same user.


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_key_is_found_in_every_session_of_the_user(store, item, session):
    """An ssh login, a service and a cron job use the same keychain as the desktop."""
    store.add(item, Secret(KEY))

    assert "found" == ask("read", item, *session)
    assert "can be used" == ask("probe", item, *session)


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_key_of_every_session_is_found_here(store, item, session):
    """The key outlives the session that made it, and another session can delete it."""
    assert "added" == ask("add", item, *session)

    assert holds(KEY, store.read([item])[0])
    assert "deleted" == ask("delete", item, "keyctl", "session", "-")
    assert absent(store, item)


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_key_whose_maker_died_before_it_set_the_rights_is_found(item, session):
    """The process links the user keyring, so it can read what only a possessor may read."""
    subprocess.run(
        ["keyctl", "padd", "user", item.service, "@u"],
        input=KEY,
        capture_output=True,
        check=True,
        timeout=20,
    )
    assert "3f010000" == keyctl("rdescribe", serial(item)).split(";")[3]

    assert "found" == ask("read", item, *session)


def test_a_thread_that_was_started_before_finds_it(store, item):
    """Each thread links the user keyring for itself, because possession belongs to the thread."""
    store.add(item, Secret(KEY))
    go, found = threading.Event(), []

    def read():
        go.wait(20)
        found.extend(store.read([item]))

    thread = threading.Thread(target=read)
    thread.start()
    store.probe()
    go.set()
    thread.join(20)

    assert [True] == [holds(KEY, key) for key in found]


def test_the_session_keyring_is_never_touched(item, tmp_path):
    """A process without a session keyring gets none: that would cost it the user keyring."""
    require_strace()
    trace = tmp_path / "trace"
    calls = ["strace", "-f", "-o", str(trace), "-e", "trace=add_key,request_key,keyctl"]

    for operation in ("probe", "add", "read", "delete", "instance"):
        ask(operation, item, *calls)
        assert "SESSION_KEYRING" not in trace.read_text()
        assert "KEY_SPEC_USER_KEYRING" in trace.read_text()

    subprocess.run([*calls, "keyctl", "show", "@s"], capture_output=True, check=True, timeout=20)
    assert "SESSION_KEYRING" in trace.read_text()  # the control


def test_an_answer_asks_the_kernel_no_more_than_it_needs(kernel_home, tmp_path):
    """Search and read each of two keys, share and pin once; then set pin and share anew."""
    require_strace()
    request = "protocol=https\nhost=git.example\n"
    stored = f"{request}username=ada\npassword=made-up\n\n"
    kernel_home.run("git-credential-keylease", "store", stdin=stored)
    program, trace = kernel_home.find("git-credential-keylease"), tmp_path / "trace"

    done = subprocess.run(
        ["strace", "-f", "-o", trace, "-e", "trace=add_key,request_key,keyctl", program, "get"],
        input=f"{request}\n",
        env=kernel_home.environment | READABLE,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "password=made-up" in done.stdout
    operations = re.findall(r"keyctl\(KEYCTL_(\w+)|(add_key)\(", trace.read_text())
    expected = ["SEARCH", "READ"] * 4 + ["UPDATE", "SET_TIMEOUT"]
    assert expected == [one or other for one, other in operations]


# Other keyrings of the same kind.


def test_another_user_namespace_is_another_instance(store, item):
    """In a rootless container, which has its own keyrings, every key is absent, with the reason."""
    command = ["unshare", "--user", "--map-root-user"]
    require(shutil.which("unshare"), "user-namespace", "unshare is not on PATH")
    works = subprocess.run([*command, "true"], capture_output=True, check=False, timeout=20)
    require(works.returncode == 0, "user-namespace", "this kernel lets nobody make one")
    store.add(item, Secret(KEY))

    assert "absent" == ask("read", item, *command)
    assert store.instance() != ask("instance", item, *command)
    assert store.instance() == ask("instance", item)


@pytest.fixture
def other_user():
    """Return a command prefix that runs as another user, and a Python for that user."""
    require(shutil.which("setpriv"), "second-user", "setpriv is not on PATH")
    require(os.geteuid() == 0, "second-user", "only root can become another user")
    command = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
    # The Python of the tests may be in a home that the other user cannot enter.
    for python in (sys.executable, "/usr/bin/python3"):
        can = subprocess.run(
            [*command, "sh", "-c", 'exec "$0" -c "import keylease.keystores.kernel"', python],
            env=os.environ | {"PYTHONPATH": SOURCE},
            capture_output=True,
            check=False,
            timeout=60,
        )
        if can.returncode == 0:
            return command, python
    return require(
        condition=False, name="second-user", reason="uid 65533 can run no Python that has keylease"
    )


def test_another_user_is_another_instance_and_finds_nothing(store, item, other_user):
    """Keys of one user are invisible to another."""
    command, python = other_user
    store.add(item, Secret(KEY))

    assert "absent" == ask("read", item, *command, python=python)
    assert store.instance() != ask("instance", item, *command, python=python)


# Before Linux 5.3 the keyring disappeared with the last process of its user. Later kernels do the
# same when a user invalidates the keyring itself. The test does that to a user who owns nothing.
LOSE = """
import os, sys
from keylease.errors import KeyleaseError
from keylease.system.keyctl import KEYCTL_INVALIDATE, Calls
from keylease.keystores.base import Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.secrets.secret import Secret
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
store, item = KernelKeyStore(), Item("fe" * 8, "session-key", 1)
try:
    store.add(item, Secret(bytes(32)))
    before = store.instance()
    assert before == store.instance()
    store.delete(item)
    print(store.instance() == before)
    Calls().keyctl(KEYCTL_INVALIDATE, Calls().keyring())
    print(store.instance() == before, store.read([item]))
    print(store.instance().partition(" keyring=")[0] == before.partition(" keyring=")[0])
finally:
    Calls().keyctl(KEYCTL_INVALIDATE, Calls().keyring())
"""


def test_keyring_that_was_lost_has_another_number_and_no_other_change_has(store):
    """A lost keyring can be told from a keyring whose key was deleted."""
    require(os.geteuid() == 0, "second-user", "only root can become another user")
    # A user of this run alone: a concurrent run must not lose its keyring.
    words = [sys.executable, "-c", LOSE, str(100_000 + os.getpid())]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    assert ["True", "False [None]", "True"] == done.stdout.splitlines(), done.stderr
    assert " keyring=" in store.instance()


# Keys that have ended, and keys that are not ours.


def test_a_revoked_key_is_absent(store, item):
    """A revoked key counts as deleted, although the kernel still finds it for a while."""
    store.add(item, Secret(KEY))
    keyctl("revoke", serial(item))

    assert absent(store, item)
    assert not store.delete(item)


def test_an_invalidated_key_is_absent(store, item):
    """An invalidated key counts as deleted."""
    store.add(item, Secret(KEY))
    keyctl("invalidate", serial(item))

    assert absent(store, item)


def test_an_unlinked_key_is_absent(store, item):
    """A key that was unlinked from the user keyring counts as deleted."""
    store.add(item, Secret(KEY))
    keyctl("unlink", serial(item), "@u")

    assert absent(store, item)


def test_an_expired_key_is_absent(store, item):
    """A key with a timeout set by another tool is gone after that time."""
    store.add(item, Secret(KEY))
    keyctl("timeout", serial(item), "1")
    patience = Deadline(30)

    while not absent(store, item):
        assert patience.remaining(), "the kernel does not expire the key"

    assert not store.delete(item)


@pytest.mark.parametrize("end", ["revoke", "invalidate"])
def test_a_key_can_be_put_where_one_has_ended(store, item, end):
    """An expired key that the kernel has not collected does not block a new one."""
    store.add(item, Secret(KEY))
    keyctl(end, serial(item))

    store.add(item, Secret(OTHER_KEY))

    assert holds(OTHER_KEY, store.read([item])[0])


@pytest.mark.parametrize("value", ["hunter2", "x" * 31, "x" * 33, "x" * 4000], ids=len)
def test_a_value_that_is_no_key_is_unavailable_and_not_shown(store, item, value):
    """A foreign value under our name is neither a key nor a sign of revocation."""
    keyctl("add", "user", item.service, value, "@u")

    with pytest.raises(KeychainUnavailableError) as caught:
        store.read([item])

    assert f"{item.service} in the kernel keyring holds no key of 32 bytes" == str(caught.value)


@pytest.mark.parametrize("permissions", ["0x00000000", "0x01010000"])
def test_a_key_that_may_not_be_read_is_unavailable(store, item, permissions):
    """A key that exists but cannot be reached was not revoked."""
    store.add(item, Secret(KEY))
    number = serial(item)
    keyctl("setperm", number, permissions)
    try:
        with pytest.raises(KeychainUnavailableError) as caught:
            store.read([item])
        with pytest.raises(KeychainUnavailableError):
            store.add(item, Secret(OTHER_KEY))
    finally:
        keyctl("unlink", number, "@u")

    assert "the permissions of the key do not let this process use it" in str(caught.value)
    assert KeychainUnavailableError is type(caught.value)


# Kernels and sandboxes that refuse.


def inject(calls, error):
    """Return a command prefix that makes these system calls fail."""
    require_strace()
    return ["strace", "-f", "-o", os.devnull, "-e", f"inject={calls}:error={error}"]


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("ENOSYS", "KeychainMissingError", "this kernel, or the sandbox, has no key management"),
        ("EPERM", "KeychainMissingError", "a sandbox forbids the calls of key management"),
        ("EDQUOT", "KeychainUnavailableError", "the user's quota of keys is used up"),
        ("ENOMEM", "KeychainUnavailableError", "the kernel is out of memory"),
        (
            "EACCES",
            "KeychainUnavailableError",
            "the permissions of the key do not let this process use it",
        ),
        ("EIO", "KeychainUnavailableError", "Input/output error"),
    ],
)
@pytest.mark.parametrize("calls", ["add_key", "keyctl"])
def test_a_refused_call_is_missing_or_unavailable_for_a_new_vault(item, calls, error, kind, reason):
    """Without key management in the kernel another keychain is tried; after a failure none is."""
    said = ask("probe", item, *inject(calls, error))

    assert said.startswith(f"{kind}: the Linux kernel keyring cannot be used: {reason}")


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EDQUOT", "EACCES", "EIO", "EINVAL"])
@pytest.mark.parametrize("operation", ["read", "add", "delete"])
def test_a_refused_call_is_never_absent(store, item, operation, error):
    """A container that forbids the calls revokes nothing."""
    if operation != "add":
        store.add(item, Secret(KEY))

    said = ask(operation, item, *inject("keyctl,add_key", error))

    assert said.startswith("KeychainUnavailableError: the Linux kernel keyring cannot be used: ")
    if operation != "add":
        assert holds(KEY, store.read([item])[0])


@pytest.mark.parametrize("error", ["ENOKEY", "EKEYEXPIRED", "EKEYREVOKED"])
def test_a_key_that_goes_between_search_and_read_is_absent(store, item, error):
    """A key that is deleted between the search and the read counts as absent."""
    store.add(item, Secret(KEY))
    wrapper = inject("keyctl", f"{error}:when=2")

    assert "absent" == ask("read", item, *wrapper)


def test_a_key_that_is_still_there_was_not_deleted(store, item):
    """A deletion that the kernel confirms but does not do is detected. The second call deletes."""
    store.add(item, Secret(KEY))
    require_strace()
    wrapper = ["strace", "-f", "-o", os.devnull, "-e", "inject=keyctl:retval=0:when=2"]

    said = ask("delete", item, *wrapper)

    assert "was deleted from the kernel keyring and is still there" in said


def test_a_real_quota_is_said(item, other_user):
    """The error says that the user's quota of keys is used up."""
    command, python = other_user
    # A session keyring that ends with its shell holds as many keys as the quota allows.
    fill = """
        i=0
        while keyctl add user keylease-test-$i x @s >/dev/null 2>&1; do i=$((i+1)); done
        exec "$@"
    """
    full = [*command, "keyctl", "session", "-", "sh", "-c", fill, "sh"]

    assert "can be used" == ask("probe", item, *command, python=python)
    assert "the user's quota of keys is used up" in ask("probe", item, *full, python=python)


def test_a_machine_with_no_desktop_gets_the_kernel_keyring(monkeypatch, item):
    """On a server without a session bus a new vault's key goes to the kernel."""
    del item
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    assert "kernel" == choose(Deadline(20)).name


def test_a_machine_with_nothing_says_everything_that_it_tried(monkeypatch):
    """Without a desktop and without keys in the sandbox, the refusal says why for each keychain."""
    require(sys.platform == "linux", "kernel-keyring", "this is not Linux")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "pdp11")))

    with pytest.raises(KeychainMissingError) as caught:
        choose(Deadline(20))

    assert "secret-service: this login has no session bus" in str(caught.value)
    assert "kernel: the system call numbers of 64-bit pdp11 are not known" in str(caught.value)
    assert "\n" not in str(caught.value)


# Keys that a rotation left behind.

# Another process rotates the key, and is killed just before it deletes the old one.
DIE = """
import os
from keylease.keystores.kernel import KernelKeyStore
from keylease.wiring import Wiring
KernelKeyStore.delete = lambda *_: os._exit(9)
Wiring().custody.rotate()
"""


@pytest.mark.parametrize("words", [("gc",), ("revoke", "--yes"), ("key", "rotate")], ids=" ".join)
def test_keys_of_killed_rotations_are_deleted_from_the_kernel(kernel_home, words):
    """The next cleanup deletes every key of a former generation from the kernel."""
    require_keyctl()
    kernel_home.run("keylease", "init")
    for _ in range(3):
        killed = subprocess.run(
            [sys.executable, "-c", DIE],
            env=kernel_home.environment | {"PYTHONPATH": SOURCE},
            cwd=kernel_home.home,
            timeout=60,
            check=False,
        )
        assert 9 == killed.returncode
    vault = kernel_home.vault()["vault"]
    assert [1, 2, 3, 4] == generations(vault), "the control: they are there"
    audit = Item(vault, "audit-key", 1).service

    done = kernel_home.run("keylease", *words)

    assert (0, "") == (done.returncode, done.stderr)
    assert {"gc": [4], "revoke": [], "key": [5]}[words[0]] == generations(vault)
    assert ("removed 3 old vault keys\n" == done.stdout) == (words == ("gc",))
    assert keyctl("search", "@u", "user", audit), "the audit log is verified with its own key"


def generations(vault):
    """Return the generations of the vault's keys in the kernel, as other processes see them."""
    # proc_keys(5): an `i` in the second column marks an invalidated key. It can no longer be found,
    # and the kernel removes it from the list later.
    name = re.compile(rf"^\w+ [^ i]+ .*keylease:{vault}:session-key\.(\d+):", re.MULTILINE)
    found = name.findall(Path("/proc/keys").read_text("ascii", "replace"))
    return sorted(int(generation) for generation in found)
