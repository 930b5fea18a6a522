"""Shares in Windows Credential Manager, which last as long as the logon session.

CREDENTIALW, CRED_PERSIST_SESSION: "The credential persists for the life of the logon session. It
will not be visible to other logon sessions of this same user." It is in no file, and a logoff or a
reboot ends it. Only this program checks the session's own end, so `erases` is false.
"""

from __future__ import annotations

import sys

from keylease.secrets.memory import secure_clear
from keylease.secrets.secret import Secret
from keylease.shares.base import SHARE_BYTES, ShareUnavailableError

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _GENERIC = 1
    _PERSIST_SESSION = 1
    _NOT_FOUND = 1168

    class _CredentialW(ctypes.Structure):
        """CREDENTIALW of wincred.h."""

        _fields_ = (
            ("flags", wintypes.DWORD),
            ("type", wintypes.DWORD),
            ("target", wintypes.LPWSTR),
            ("comment", wintypes.LPWSTR),
            ("last_written", wintypes.FILETIME),
            ("blob_size", wintypes.DWORD),
            ("blob", ctypes.c_void_p),
            ("persist", wintypes.DWORD),
            ("attribute_count", wintypes.DWORD),
            ("attributes", ctypes.c_void_p),
            ("target_alias", wintypes.LPWSTR),
            ("username", wintypes.LPWSTR),
        )

    class WindowsShares:
        """The shares of this logon session."""

        kind = 3
        erases = False

        def create(self, session: str, seconds: int) -> Secret | None:
            """Write a share. `seconds` is ignored: the store has no time-outs."""
            del seconds
            share = Secret.random(SHARE_BYTES)
            write_for_session(_name(session), share.reveal())
            return share

        def read(self, session: str) -> Secret | None:
            """Return the share. A share of another logon session is unavailable, not ended."""
            return read_for_session(_name(session), SHARE_BYTES)

        def prolong(self, session: str, seconds: int) -> None:
            """Do nothing: the share lasts as long as the logon session."""

        def destroy(self, session: str) -> None:
            """Delete the share."""
            deleted = _advapi().CredDeleteW(_name(session), _GENERIC, 0)
            if not deleted and ctypes.get_last_error() != _NOT_FOUND:
                _refuse("deleted")

        def sweep(self, live: set[str]) -> int:
            """Do nothing: a list of shares does not show which state directory each belongs to."""
            del live
            return 0

    def write_for_session(name: str, data: memoryview) -> None:
        """Write a credential that lasts as long as the logon session.

        Raises:
            ShareUnavailableError: Windows refuses.
        """
        blob = (ctypes.c_char * len(data)).from_buffer(data)
        credential = _CredentialW(
            type=_GENERIC,
            target=name,
            blob_size=len(data),
            blob=ctypes.addressof(blob),
            persist=_PERSIST_SESSION,
            username="keylease",
        )
        if not _advapi().CredWriteW(ctypes.byref(credential), 0):
            _refuse("written")

    def read_for_session(name: str, length: int) -> Secret:
        """Return the `length` bytes of a credential.

        Raises:
            ShareUnavailableError: it is of another logon session, of another length or unreadable.
        """
        found = ctypes.POINTER(_CredentialW)()
        advapi = _advapi()
        if not advapi.CredReadW(name, _GENERIC, 0, ctypes.byref(found)):
            # This includes "not found": it may be in another logon session of the same user.
            _refuse("read")
        try:
            credential = found.contents
            size = credential.blob_size
            blob = (ctypes.c_char * size).from_address(credential.blob or 0) if size else b""
            if size != length:
                msg = f"the share in Credential Manager has {size} bytes, not {length}"
                raise ShareUnavailableError(msg)
            view = memoryview(blob).cast("B")
            data = Secret(view)
            secure_clear(view)
            return data
        finally:
            advapi.CredFree(found)

    def _name(session: str) -> str:
        return f"keylease:share:{session}"

    def _advapi() -> ctypes.WinDLL:
        advapi = ctypes.WinDLL("advapi32", use_last_error=True)
        advapi.CredReadW.argtypes = (
            wintypes.LPCWSTR,
            wintypes.DWORD,
            wintypes.DWORD,
            ctypes.c_void_p,
        )
        advapi.CredFree.argtypes = (ctypes.c_void_p,)
        return advapi

    def _refuse(done: str) -> None:
        error = ctypes.WinError(ctypes.get_last_error())
        msg = f"the share cannot be {done} in Credential Manager: {error.strerror}"
        raise ShareUnavailableError(msg) from error
