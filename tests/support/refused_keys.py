"""Run a command without the kernel's keyring: `python refused_keys.py ERRNO CMD ARGS`.

This uses a seccomp filter, as container engines do: seccomp(2), SECCOMP_RET_ERRNO. A tracer would
slow the command down so much that gnome-keyring 42 aborts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from keylease.system.keyctl import syscalls

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD_NUMBER = struct.pack("HBBI", 0x20, 0, 0, 0)  # BPF_LD | BPF_W | BPF_ABS: seccomp_data.nr
ALLOW = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)


def refuse_keyring(number: int) -> None:
    """Let add_key(2) and keyctl(2) fail with this error in this process and its children."""
    calls = syscalls()
    refusal = struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | number)
    instructions = [
        LOAD_NUMBER,
        struct.pack("HBBI", 0x15, 2, 0, calls.add_key),  # BPF_JMP | BPF_JEQ
        struct.pack("HBBI", 0x15, 1, 0, calls.keyctl),
        ALLOW,
        refusal,
    ]
    code = ctypes.create_string_buffer(b"".join(instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    no = (0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, *no) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel refused the filter")


if __name__ == "__main__":
    refuse_keyring(getattr(errno, sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the test's own words
