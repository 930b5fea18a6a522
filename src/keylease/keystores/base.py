"""What every keychain must do, and the three answers that it can give.

*Found*, *absent* and *unavailable* are different answers: `KeyStore.read` returns a secret, returns
`None`, or raises `KeychainUnavailableError`. `None` is a strong claim. It means "this keychain was
reached, it was unlocked, it was searched whole, and the item is not there"; every session of the
vault is destroyed on that word. A provider that is not sure raises.
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
"""How long a key is in base64 (RFC 4648, 4), as which keychains hold it that know texts only."""
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
        """What a person reads in the keychain's own window: what deleting the item does."""
        if self.kind == "session-key":
            return "keylease session key: delete it to end every session at once"
        return "keylease audit key: keep it, the audit log is verified with it"


MEMORY: Final = " keyring="
"""What stands in an instance before the name of its memory, if it has one."""


class KeyStore(Protocol):
    """One keychain. Every call ends within the `Deadline` that the constructor was given."""

    name: str
    """As in `vault.json` and after `--keychain`: `secret-service`, `kernel`, `macos`, ..."""
    title: str
    """As people call it: `Secret Service`, `Linux kernel keyring`, ..."""
    survives_reboot: bool
    """False where a reboot empties the keychain, so that absence after one is no revocation."""

    def instance(self) -> str:
        """Tell this keychain from another of the same kind, if the kind has several.

        It is recorded with the vault; another instance is *unavailable*, not *absent*. Empty if
        the platform has one only. What follows `MEMORY` tells one life of the same keychain from
        the next: another one means that the keychain has lost all it had, as in a reboot.
        """

    def probe(self) -> None:
        """Return if a key could be put here now.

        Raises:
            KeychainMissingError: this machine or login has none; the next kind may be tried.
            KeychainUnavailableError: it is there, but locked, hung or broken; no other may be
                tried.
        """

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each item's key (`KEY_BYTES` bytes), or `None` where it is surely absent.

        Raises:
            KeychainUnavailableError: nothing can be said about at least one of them.
        """

    def add(self, item: Item, key: Secret) -> None:
        """Put a new item. It has the label and the attributes that people and tools search by.

        Raises:
            KeychainUnavailableError: it was not put, or could not be read back as it was put.
        """

    def delete(self, item: Item) -> bool:
        """Delete the item for good and return whether it was there. It is absent afterwards.

        Raises:
            KeychainUnavailableError: it is not known to be gone.
        """

    def removal_command(self, item: Item) -> str:
        """Return the platform's own command that deletes the item, for people to copy."""


_QUESTIONS: Final = ("instance", "probe", "read", "add", "delete")


def answering(provider: type[T]) -> type[T]:
    """Let a keychain's class give the three answers and no other.

    Whatever else one of its calls raises (a parser's `AssertionError` for a malformed message, a
    `RecursionError` for a nested one, a `MemoryError`) says nothing about the item, so it is
    *unavailable*. Each class decorates itself with this.
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
    """Return the key that `base64text.encode` made a text of; `None` if it did not."""
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
