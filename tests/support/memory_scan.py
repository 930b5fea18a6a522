"""The secrets that a scan of a process's memory searches for, and whether a scan is possible."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.requirements import require

from keylease.errors import KeyleaseError
from keylease.keystores import open_keystore
from keylease.keystores.base import Item
from keylease.secrets.secret import Secret
from keylease.shares.kernel import KernelShares
from keylease.store.format import HEADER_BYTES, Header
from keylease.store.seal import Keys, session_keys
from keylease.system.clock import Deadline

if sys.platform != "linux":
    pytest.skip("needs Linux's /proc to read the memory of processes", allow_module_level=True)

from keylease.cli.doctor.memory import ORDINARY
from keylease.cli.doctor.scan import Needle, Scan, needles
from keylease.cli.doctor.trace import stopped_at_its_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.throwaway import Throwaway

PASSWORD = f"password-{os.urandom(16).hex()}".encode()
TOKEN = f"refresh-{os.urandom(16).hex()}".encode()
WHERE = b"protocol=https\nhost=example.com\n"
GET = WHERE + b"\n"
STORE = (
    WHERE + b"username=alice\npassword=" + PASSWORD + b"\noauth_refresh_token=" + TOKEN + b"\n\n"
)

# Linux makes these unreadable, and no program writes to them: proc(5), vdso(7).
KERNELS_OWN = {"[vvar]", "[vvar_vclock]", "[vsyscall]"}


@functools.cache
def require_scan() -> None:
    """Skip the test if no process can be scanned here; else prove that the scan finds a secret.

    One proof per run is enough, as neither the machine nor the search changes.
    """
    try:
        found, answer = run([sys.executable, "-I", "-c", ORDINARY], STORE, {}, "/", credential())
    except KeyleaseError as error:
        require(condition=False, name="ptrace", reason=str(error))
    assert PASSWORD in answer
    assert 1 <= found.hits["password"], "the control: an ordinary program leaves the password"
    assert 1 <= found.hits["refresh token"]


def run(
    words: list[str],
    stdin: bytes,
    environment: Mapping[str, str],
    directory: str,
    wanted: list[Needle],
) -> tuple[Scan, bytes]:
    """Return the secrets found in a program's memory at its end, and its answer."""
    with stopped_at_its_end(
        words, stdin=stdin, environment=environment, directory=directory
    ) as traced:
        return traced.scan(wanted), traced.answer()


def left(found: Scan) -> list[str]:
    """Return where secrets were found, after checking that the scan covered the memory."""
    assert KERNELS_OWN >= {name.rpartition(" ")[2] for name in found.unreadable}
    assert 1_000_000 < found.scanned, "the control: a Python has more memory than that"
    return found.places


def credential() -> list[Needle]:
    """Return the secrets of the credential that git sends."""
    return needles("password", PASSWORD) + needles("refresh token", TOKEN)


def in_file(home: Throwaway, session: str) -> Secret:
    """Return a session's share from the runtime directory of a home."""
    (path,) = Path(home.environment["XDG_RUNTIME_DIR"]).glob(f"keylease-*/{session}.share")
    return Secret(path.read_bytes())


def keys(home: Throwaway) -> list[Needle]:
    """Return every key of a home's vault and sessions."""
    vault = home.vault()
    assert vault is not None
    items = [
        Item(vault["vault"], "session-key", vault["generation"]),
        Item(vault["vault"], "audit-key", vault["audit_generation"]),
    ]
    found: list[Needle] = []
    with pytest.MonkeyPatch.context() as patch:
        address = home.environment.get("DBUS_SESSION_BUS_ADDRESS", "")
        patch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        session, audit = open_keystore(vault["keychain"], Deadline(10)).read(items)
    assert session is not None
    assert audit is not None
    found += needles("vault key", session.reveal()) + needles("audit key", audit.reveal())
    for path in home.state.glob("sessions/*/*.sealed"):
        sealed = path.read_bytes()
        header = Header.unpack(sealed)
        share = KernelShares().read(header.id) if header.share == 1 else in_file(home, header.id)
        assert share is not None
        found += needles("share", share.reveal())
        for key in session_keys(Keys(session, share), sealed[:HEADER_BYTES]):
            found += needles("session key", key.reveal())
    return found
