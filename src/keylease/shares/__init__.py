"""Volatile shares: the half of a session's key that expires by itself. One mechanism per file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.faults import Steps, border
from keylease.shares.base import ShareUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.secrets.secret import Secret
    from keylease.shares.base import ShareStore
    from keylease.store.format import Header


class Shares:
    """The share stores of this process, by their kind in the header of a sealed file.

    Args:
        stores: Best first; the last one always works.
    """

    def __init__(self, stores: Sequence[ShareStore]) -> None:
        self._stores = {store.kind: store for store in stores}

    def create(self, session: str, seconds: int) -> tuple[int, Secret | None, str | None]:
        """Make a share in the first store that can keep one.

        Returns:
            The kind of that store, the share, and why the best store refused if it did.
        """
        *others, last = self._stores.values()
        refusal = None
        for store in others:
            try:
                return store.kind, store.create(session, seconds), refusal
            except ShareUnavailableError as error:
                # The next store is weaker, so the caller and the audit log get the reason.
                refusal = refusal or str(error)
        return last.kind, last.create(session, seconds), refusal

    def erases(self, header: Header) -> bool:
        """Return whether the platform itself destroys the share when the session ends."""
        return self._of(header).erases

    def read(self, header: Header, session: str) -> Secret | None:
        """Return the share, or `None` if the session has none or it has expired.

        Raises:
            ShareUnavailableError: the store cannot tell.
        """
        with border(_unforeseen):
            return self._of(header).read(session)

    def prolong(self, header: Header | None, session: str, seconds: int) -> None:
        """Let the share expire `seconds` from now.

        Raises:
            ShareUnavailableError: the store cannot be reached.
        """
        if header is not None:
            with border(_unforeseen):
                self._of(header).prolong(session, seconds)

    def destroy(self, header: Header | None, session: str) -> bool:
        """Destroy the share and return whether it is gone; without a header, try every store.

        A share that cannot be reached expires by itself, or ends with the login.
        """
        wanted = self._stores.keys() if header is None else {header.share}
        with Steps() as steps:
            for kind in wanted & self._stores.keys():
                with steps.step():
                    self._stores[kind].destroy(session)
        return wanted <= self._stores.keys() and not steps.failures

    def sweep(self, live: set[str]) -> int:
        """Destroy shares without a live session in the stores where shares do not expire."""
        swept = 0
        with Steps() as steps:
            for store in self._stores.values():
                with steps.step():
                    swept += store.sweep(live)
        for failure in steps.failures:
            if not isinstance(failure, ShareUnavailableError):
                raise failure
        return swept

    def _of(self, header: Header) -> ShareStore:
        store = self._stores.get(header.share)
        if store is None:
            msg = f"the session's share is in a store of kind {header.share}, which is not here"
            raise ShareUnavailableError(msg)
        return store


def _unforeseen(fault: BaseException) -> ShareUnavailableError:
    return ShareUnavailableError(f"the session's share cannot be reached: {type(fault).__name__}")
