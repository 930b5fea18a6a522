"""A keychain that cannot be used, as an object: every call refuses with the reason.

It stands in place of `None`, so callers need no check. It never answers "absent", which would end
every session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from keylease.errors import KeychainUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keylease.keystores.base import Item, KeyStore
    from keylease.secrets.secret import Secret


class UnavailableKeyStore:
    """A keychain that refuses every call.

    Args:
        name: The name of the missing keychain.
        reason: What was found and what was expected.
        kind: `KeychainMissingError` if another kind may be tried instead.
        hint: What to do next; the error's own hint if not given.
    """

    survives_reboot = True

    def __init__(
        self,
        name: str,
        reason: str,
        kind: type[KeychainUnavailableError] = KeychainUnavailableError,
        hint: str | None = None,
    ) -> None:
        self.name = name
        self.title = f"{name} (unavailable)"
        self._reason = reason
        self._kind = kind
        self._hint = hint

    def _refuse(self) -> NoReturn:
        raise self._kind(self._reason, self._hint)

    def instance(self) -> str:
        """Refuse."""
        self._refuse()

    def probe(self) -> None:
        """Refuse."""
        self._refuse()

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Refuse."""
        del items
        self._refuse()

    def add(self, item: Item, key: Secret) -> None:
        """Refuse."""
        del item, key
        self._refuse()

    def delete(self, item: Item) -> bool:
        """Refuse."""
        del item
        self._refuse()

    def removal_command(self, item: Item) -> str:
        """Refuse: the right tool is unknown."""
        del item
        self._refuse()


if TYPE_CHECKING:
    _CHECKED: KeyStore = UnavailableKeyStore("", "")
