"""What every keychain must do, and the three answers that it can give.

*Found*, *absent* and *unavailable* are different answers: `KeyStore.read` returns a secret, returns
`None`, or raises `KeychainUnavailableError`. `None` is a strong claim. It means that the keychain
was reached, was unlocked and was searched completely, and does not have the item; keylease then
destroys every session of the vault. A provider that is not sure raises.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeVar

from keylease.errors import KeychainUnavailableError
from keylease.faults import border
from keylease.secrets.base64text import DIGITS, PADDING
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

KEY_BYTES: Final = 32
TEXT_BYTES: Final = 44
"""Length of a key in base64 (RFC 4648, 4), for keychains that store only text."""
USERNAME: Final = "keylease"
"""The user name of every item, so that `keyring get SERVICE keylease` finds it."""

Kind = Literal["session-key", "audit-key"]


class Item(NamedTuple):
    """The name of one key in a keychain. A new generation is a new item; none is overwritten."""

    vault: str
    """The vault's id: 16 lower-case hexadecimal digits."""
    kind: Kind
    generation: int

    @property
    def service(self) -> str:
        """The service name under which any tool finds it."""
        return f"keylease:{self.vault}:{self.kind}.{self.generation}"

    @property
    def label(self) -> str:
        """The text in the keychain's own window. It says what deleting the item does."""
        if self.kind == "session-key":
            return "keylease session key: delete it to end every session at once"
        return "keylease audit key: keep it, the audit log is verified with it"


MEMORY: Final = " keyring="
"""In an instance, this precedes the name of its memory, if it has one."""


class KeyStore(Protocol):
    """One keychain. Every call ends within the constructor's `Deadline`."""

    name: str
    """The name in `vault.json` and for `--keychain`: `secret-service`, `kernel`, `macos`, ..."""
    title: str
    """The name that users know: `Secret Service`, `Linux kernel keyring`, ..."""
    survives_reboot: bool
    """False if a reboot empties the keychain, so that absence after a reboot is no revocation."""

    def instance(self) -> str:
        """Return a text that identifies this keychain among others of its kind.

        The vault records it; another instance is *unavailable*, not *absent*. It is empty if the
        platform has only one. The part after `MEMORY` changes when the same keychain has lost all
        its keys, as in a reboot.
        """

    def probe(self) -> None:
        """Return if a key can be stored here now.

        Raises:
            KeychainMissingError: this machine or login has none; the next kind may be tried.
            KeychainUnavailableError: it is locked, hung or broken; no other kind may be tried.
        """

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each item's key (`KEY_BYTES` bytes), or `None` if it is certainly absent.

        Raises:
            KeychainUnavailableError: the answer for at least one of them is not certain.
        """

    def add(self, item: Item, key: Secret) -> None:
        """Store a new item, with the label and the attributes that people and tools search by.

        Raises:
            KeychainUnavailableError: it was not stored, or reading it back gave another value.
        """

    def delete(self, item: Item) -> bool:
        """Delete the item and return whether it existed. It is absent afterwards.

        Raises:
            KeychainUnavailableError: it may still exist.
        """

    def removal_command(self, item: Item) -> str:
        """Return the platform's own command that deletes the item, for users to copy."""


_QUESTIONS: Final = ("instance", "probe", "read", "add", "delete")


def answering(provider: type[T]) -> type[T]:
    """Restrict a keychain's class to the three answers. Each class uses this decorator.

    Any other exception of a call (a parser's `AssertionError`, a `RecursionError` for a nested
    message, a `MemoryError`) says nothing about the item, so the answer is *unavailable*.
    """
    for name in _QUESTIONS:
        setattr(provider, name, _answering(getattr(provider, name)))
    return provider


def _answering(question: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(question)
    def ask(self: KeyStore, *items: object) -> object:
        def refuse(fault: BaseException) -> KeychainUnavailableError:
            return unusable(self.title, fault)

        with border(refuse):
            return question(self, *items)

    return ask


def unusable(title: str, fault: BaseException) -> KeychainUnavailableError:
    """Return the refusal for a fault (`keylease.faults`) in a keychain or its library."""
    msg = f"the {title} cannot be used: it failed with {type(fault).__name__}"
    return KeychainUnavailableError(msg)


_VALUES: Final = {digit: value for value, digit in enumerate(DIGITS)}


def key_from_text(text: Sequence[int]) -> Secret | None:
    """Return the key of a text from `base64text.encode`; `None` for any other text."""
    if (
        len(text) != TEXT_BYTES
        or text[-1] != PADDING
        or not all(map(_VALUES.__contains__, text[:-1]))
    ):
        return None
    if _VALUES[text[-2]] & 3:
        return None

    def fill(key: memoryview) -> None:
        for at in range(KEY_BYTES):
            left, place = at // 3 * 4 + at % 3, at % 3
            high, low = _VALUES[text[left]], _VALUES.get(text[left + 1], 0)
            if place == 0:
                key[at] = high << 2 | low >> 4
            elif place == 1:
                key[at] = (high & 15) << 4 | low >> 2
            else:
                key[at] = (high & 3) << 6 | low

    return Secret.filled(KEY_BYTES, fill)
