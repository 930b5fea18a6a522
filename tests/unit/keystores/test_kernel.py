"""The kernel keyring's tables, and machines without such a keyring."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
from pathlib import Path

import pytest
from support.requirements import require

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
from keylease.keystores.kernel import KernelKeyStore
from keylease.secrets.secret import Secret
from keylease.system.clock import Deadline
from keylease.system.keyctl import SYSCALLS, Calls

ITEM = Item("0123456789abcdef", "session-key", 1)
CALLS = {
    "probe": lambda store: store.probe(),
    "read": lambda store: store.read([ITEM]),
    "add": lambda store: store.add(ITEM, Secret(bytes(32))),
    "delete": lambda store: store.delete(ITEM),
}


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        (("aarch64", 64), "asm-generic/unistd.h"),
        (("riscv64", 64), "asm-generic/unistd.h"),
        (("loongarch64", 64), "asm-generic/unistd.h"),
        (("x86_64", 64), "x86_64-linux-gnu/asm/unistd_64.h"),
        (("i686", 32), "x86_64-linux-gnu/asm/unistd_32.h"),
        (("x86_64", 32), "x86_64-linux-gnu/asm/unistd_32.h"),
    ],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine, header):
    """The numbers match the kernel's headers, as a wrong one is another system call."""
    path = Path("/usr/include", header)
    require(path.exists(), "kernel-headers", f"{path} is not here (package linux-libc-dev)")

    found = dict(re.findall(r"#define __NR_(add_key|keyctl)\s+(\d+)", path.read_text()))

    assert {"add_key": str(SYSCALLS[machine].add_key), "keyctl": str(SYSCALLS[machine].keyctl)} == (
        found
    )


def test_keyctl_comes_two_after_add_key_everywhere():
    """keyctl is two after add_key, as in every table of the kernel."""
    assert {2} == {numbers.keyctl - numbers.add_key for numbers in SYSCALLS.values()}


def test_this_machine_is_in_the_table():
    """The machine that runs the tests is in the table."""
    require(sys.platform == "linux", "kernel-keyring", "this is not Linux")

    assert (platform.machine(), 64 if sys.maxsize > 2**32 else 32) in SYSCALLS


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_unknown_machine_has_no_keyring(monkeypatch, call):
    """On an unknown machine no call is made, and the next keychain is tried."""
    monkeypatch.setattr(sys, "platform", "linux")
    told = os.uname_result(("Linux", "", "", "", "pdp11")) if hasattr(os, "uname_result") else None
    monkeypatch.setattr(os, "uname", lambda: told, raising=False)
    require(told, "kernel-keyring", "this platform has no uname")

    with pytest.raises(KeychainMissingError, match=r"-bit pdp11 are not known to keylease"):
        call(KernelKeyStore())


@pytest.mark.parametrize("call", [*CALLS.values(), lambda store: store.instance()])
def test_another_platform_has_no_keyring(monkeypatch, call):
    """On macOS and Windows the keyring is missing, not broken."""
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(KeychainMissingError, match=r"not on this platform \(darwin\)"):
        call(KernelKeyStore())


def test_without_proc_the_instance_cannot_be_told(monkeypatch):
    """Without /proc the user namespace is unknown, so no keyring is used."""
    require(sys.platform == "linux", "kernel-keyring", "this is not Linux")

    def refuse(path):
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(os, "stat", refuse)

    with pytest.raises(KeychainUnavailableError, match="the user namespace is unknown"):
        KernelKeyStore().instance()


def test_the_removal_command_is_keyctls():
    """`keylease status` shows the keyctl command that removes a key."""
    expected = "keyctl invalidate %user:keylease:0123456789abcdef:session-key.1"

    assert expected == open_keystore("kernel", Deadline(20)).removal_command(ITEM)


def test_it_says_that_a_reboot_forgets_the_keys():
    """The store says that a reboot erases its keys, so absence then is no revocation."""
    assert not KernelKeyStore().survives_reboot


# A kernel does not fail on request, so each call's result is made up: an `OSError` or a number.


@pytest.fixture
def scripted(monkeypatch):
    """Return a function that sets the results of the next system calls."""
    require(sys.platform == "linux", "kernel-keyring", "this is not Linux")

    def scripted(*results):
        left = list(results)

        def call(_calls, *_arguments, **_options):
            result = left.pop(0)
            if isinstance(result, OSError):
                raise result
            return result

        monkeypatch.setattr(Calls, "_call", call)

    return scripted


def failure(name):
    """Return the error with that name."""
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


LINKED, SERIAL, DONE = 0, 4711, 0


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("ENOSYS", KeychainMissingError, "this kernel, or the sandbox, has no key management"),
        ("EPERM", KeychainMissingError, "a sandbox forbids the calls of key management"),
        ("EOPNOTSUPP", KeychainMissingError, "this kernel's key management is too old"),
        ("EDQUOT", KeychainUnavailableError, "the user's quota of keys is used up"),
        ("EACCES", KeychainUnavailableError, "the permissions of the key do not let this process"),
        ("EIO", KeychainUnavailableError, "Input/output error"),
    ],
)
def test_where_nothing_can_be_put_the_reason_is_said(scripted, name, kind, reason):
    """A sandbox without keys counts as missing; a full or broken keyring does not."""
    scripted(LINKED, failure(name))

    with pytest.raises(KeychainUnavailableError) as caught:
        KernelKeyStore().probe()

    assert kind is type(caught.value)
    assert f"the Linux kernel keyring cannot be used: {reason}" in str(caught.value)


@pytest.mark.parametrize("name", ["ENOSYS", "EPERM", "EDQUOT", "EACCES", "EIO"])
@pytest.mark.parametrize("calls_before", [0, 1])
@pytest.mark.parametrize("operation", ["read", "add", "delete"])
def test_a_failing_call_is_never_absent(scripted, operation, name, calls_before):
    """A failing call never counts as an absent key."""
    found = failure("ENOKEY") if operation == "add" else SERIAL
    scripted(*[found][:calls_before], failure(name))

    with pytest.raises(KeychainUnavailableError) as caught:
        CALLS[operation](KernelKeyStore())

    assert KeychainUnavailableError is type(caught.value)


@pytest.mark.parametrize("name", ["ENOKEY", "EKEYEXPIRED", "EKEYREVOKED"])
@pytest.mark.parametrize("found", [[], [SERIAL]], ids=["at the search", "after the search"])
def test_a_key_that_has_ended_is_absent(scripted, name, found):
    """Deleted, expired and revoked keys are absent, even if found just before the read."""
    scripted(*found, failure(name))

    assert all(key is None for key in KernelKeyStore().read([ITEM]))


def test_a_key_that_is_not_read_back_was_not_added(scripted):
    """A key that cannot be read back was not added."""
    scripted(failure("ENOKEY"), SERIAL, DONE, failure("ENOKEY"))

    with pytest.raises(KeychainUnavailableError, match="is not read back unchanged"):
        KernelKeyStore().add(ITEM, Secret(bytes(range(32))))


def test_a_key_that_is_still_there_was_not_deleted(scripted):
    """A key that is still there was not deleted, whatever the kernel answered."""
    scripted(SERIAL, DONE, SERIAL)

    with pytest.raises(KeychainUnavailableError, match=r"was deleted .* and is still there"):
        KernelKeyStore().delete(ITEM)
