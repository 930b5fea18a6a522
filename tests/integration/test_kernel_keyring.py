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

# Another process does one operation and prints what came of it, never a key.
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
    """Return an item of a vault that nobody has; whatever is left of it is taken away."""
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
    """Return what another process says, started by `wrapper`."""
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
    return told.stdout.strip().rpartition("\n")[2]  # keyctl session says where it is first


def serial(item):
    """Return the number by which keyctl(1) knows the item's key."""
    return keyctl("search", "@u", "user", item.service)


def absent(store, *items):
    """Return whether none of the items is there. A secret is never compared with `==`."""
    return all(key is None for key in store.read(items))


def holds(key, found):
    """Return whether a read gave this key."""
    return found is not None and found.matches(Secret(key))


SESSIONS = {
    "the same session": [],
    "a session keyring of its own, as a systemd service has": ["keyctl", "session", "-"],
    "a new process session": ["setsid", "--wait"],
    "an empty environment, as cron's": ["setsid", "--wait", "env", "-i", f"PYTHONPATH={SOURCE}"],
}


# What people and their tools see.


def test_keyctl_shows_the_key_itself(store, item):
    """The key is there as 32 bytes, under the service name, for the platform's own tool."""
    store.add(item, Secret(KEY))

    found = subprocess.run(
        ["keyctl", "pipe", serial(item)], capture_output=True, check=True, timeout=20
    )

    assert KEY == found.stdout


def test_others_may_do_nothing_with_the_key(store, item):
    """The permissions are for the user's own processes; group and others have none."""
    store.add(item, Secret(KEY))

    permissions = keyctl("rdescribe", serial(item)).split(";")[3]

    assert "3f3f0000" == permissions


@pytest.mark.parametrize("session", [[], ["keyctl", "session", "-"]], ids=["here", "elsewhere"])
def test_the_removal_command_works_as_it_is_shown(store, item, session):
    """What status shows can be pasted into any shell of the user, and revokes."""
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
    """A login by ssh, a service and a cron job have the keychain that the desktop has."""
    store.add(item, Secret(KEY))

    assert "found" == ask("read", item, *session)
    assert "can be used" == ask("probe", item, *session)


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_key_of_every_session_is_found_here(store, item, session):
    """The key lives on when the session that made it has ended, and can be deleted from another."""
    assert "added" == ask("add", item, *session)

    assert holds(KEY, store.read([item])[0])
    assert "deleted" == ask("delete", item, "keyctl", "session", "-")
    assert absent(store, item)


@pytest.mark.parametrize("session", SESSIONS.values(), ids=SESSIONS)
def test_a_key_whose_maker_died_before_it_set_the_rights_is_found(item, session):
    """What only its possessor may read is possessed for it: the process links the user keyring."""
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
    """What another thread did to be allowed to read, this one has to do again, and does."""
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
    """A process without a session keyring is not given one: that would cost it the user keyring."""
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
    """Two keys, share and pin are each searched and read once; then pin and share are set anew."""
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
    """A rootless container has keyrings of its own, in which every key is absent: that says so."""
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
    """Return the words before a command that is to run as somebody else, and a Python for them."""
    require(shutil.which("setpriv"), "second-user", "setpriv is not on PATH")
    require(os.geteuid() == 0, "second-user", "only root can become another user")
    command = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
    # The interpreter of the tests may be in a home that nobody else can enter.
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
    """Keys are the user's own."""
    command, python = other_user
    store.add(item, Secret(KEY))

    assert "absent" == ask("read", item, *command, python=python)
    assert store.instance() != ask("instance", item, *command, python=python)


# Before Linux 5.3 the keyring went with the last process of its user. Later kernels do the same if
# a user invalidates the keyring itself, so that is done to a user who has nothing in it.
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
    """A key that was deleted leaves the keyring; a keyring that was lost is told from that."""
    require(os.geteuid() == 0, "second-user", "only root can become another user")
    # A user of this run alone: another run at the same time would lose the keyring of this one.
    words = [sys.executable, "-c", LOSE, str(100_000 + os.getpid())]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    assert ["True", "False [None]", "True"] == done.stdout.splitlines(), done.stderr
    assert " keyring=" in store.instance()


# Keys that have ended, and keys that are not ours.


def test_a_revoked_key_is_absent(store, item):
    """A revoked key is still found for a while; it is gone all the same."""
    store.add(item, Secret(KEY))
    keyctl("revoke", serial(item))

    assert absent(store, item)
    assert not store.delete(item)


def test_an_invalidated_key_is_absent(store, item):
    """Invalidated is deleted."""
    store.add(item, Secret(KEY))
    keyctl("invalidate", serial(item))

    assert absent(store, item)


def test_an_unlinked_key_is_absent(store, item):
    """A key that was taken out of the user keyring is deleted too."""
    store.add(item, Secret(KEY))
    keyctl("unlink", serial(item), "@u")

    assert absent(store, item)


def test_an_expired_key_is_absent(store, item):
    """A key to which somebody gave a time is gone when it is over."""
    store.add(item, Secret(KEY))
    keyctl("timeout", serial(item), "1")
    patience = Deadline(30)

    while not absent(store, item):
        assert patience.remaining(), "the kernel does not expire the key"

    assert not store.delete(item)


@pytest.mark.parametrize("end", ["revoke", "invalidate"])
def test_a_key_can_be_put_where_one_has_ended(store, item, end):
    """What the kernel has not collected yet is in nobody's way."""
    store.add(item, Secret(KEY))
    keyctl(end, serial(item))

    store.add(item, Secret(OTHER_KEY))

    assert holds(OTHER_KEY, store.read([item])[0])


@pytest.mark.parametrize("value", ["hunter2", "x" * 31, "x" * 33, "x" * 4000], ids=len)
def test_a_value_that_is_no_key_is_unavailable_and_not_shown(store, item, value):
    """Somebody else's value under our name is neither a key nor a sign of revocation."""
    keyctl("add", "user", item.service, value, "@u")

    with pytest.raises(KeychainUnavailableError) as caught:
        store.read([item])

    assert f"{item.service} in the kernel keyring holds no key of 32 bytes" == str(caught.value)


@pytest.mark.parametrize("permissions", ["0x00000000", "0x01010000"])
def test_a_key_that_may_not_be_read_is_unavailable(store, item, permissions):
    """A key that is there and out of reach was not revoked."""
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
    """Return the words before a command whose system calls are to fail so."""
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
    """Where key management is not there, another keychain is tried; where it fails, none is."""
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
    """keyctl is called twice: to search and to read."""
    store.add(item, Secret(KEY))
    wrapper = inject("keyctl", f"{error}:when=2")

    assert "absent" == ask("read", item, *wrapper)


def test_a_key_that_is_still_there_was_not_deleted(store, item):
    """A kernel that says yes and keeps the key is not believed. The second call is the deletion."""
    store.add(item, Secret(KEY))
    require_strace()
    wrapper = ["strace", "-f", "-o", os.devnull, "-e", "inject=keyctl:retval=0:when=2"]

    said = ask("delete", item, *wrapper)

    assert "was deleted from the kernel keyring and is still there" in said


def test_a_real_quota_is_said(item, other_user):
    """A user who may keep no more keys is told that."""
    command, python = other_user
    # A session keyring that ends with the shell holds as many keys as the user may have.
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
    """No desktop and a sandbox without keys: the refusal names each keychain and why."""
    require(sys.platform == "linux", "kernel-keyring", "this is not Linux")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", "", "", "pdp11")))

    with pytest.raises(KeychainMissingError) as caught:
        choose(Deadline(20))

    assert "secret-service: this login has no session bus" in str(caught.value)
    assert "kernel: the system call numbers of 64-bit pdp11 are not known" in str(caught.value)
    assert "\n" not in str(caught.value)


# Keys that a change of keys has left

# Another process replaces the key, and is killed when it is about to delete the old one.
DIE = """
import os
from keylease.keystores.kernel import KernelKeyStore
from keylease.wiring import Wiring
KernelKeyStore.delete = lambda *_: os._exit(9)
Wiring().custody.rotate()
"""


@pytest.mark.parametrize("words", [("gc",), ("revoke", "--yes"), ("key", "rotate")], ids=" ".join)
def test_keys_of_killed_rotations_are_deleted_from_the_kernel(kernel_home, words):
    """Whatever cleans up next, the kernel holds no key of a former generation afterwards."""
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
    """Return the generations of the vault's keys that the kernel has, as others see them."""
    # proc_keys(5): the second column has an `i` for a key that was invalidated; nobody can find it
    # any more, and the kernel takes it off the list when it comes to it.
    name = re.compile(rf"^\w+ [^ i]+ .*keylease:{vault}:session-key\.(\d+):", re.MULTILINE)
    found = name.findall(Path("/proc/keys").read_text("ascii", "replace"))
    return sorted(int(generation) for generation in found)
