"""For tests of other programs: a frozen clock, a keychain in memory, and the keychain contract.

`FrozenClock` and `MemoryKeyStore` implement the real interfaces; they are no mocks.
`memory_service` returns real sessions that use them. `KeyStoreContract` holds the tests that every
keychain must pass; inherit it to test your own keychain.

Use nothing here in a program: a key in memory ends with the process, and any code in the process
can read it. Importing this module does not import pytest.
"""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keylease.audit.log import AuditLog
from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores.base import KEY_BYTES, USERNAME, Item
from keylease.model import NANOSECONDS, Limits, Moment, Settings
from keylease.secrets.secret import Secret
from keylease.session.operation import HeldState, Operation
from keylease.shares.policy import PolicyShares
from keylease.statefile import Directory
from keylease.store.store import SessionStore
from keylease.system.clock import Deadline
from keylease.vault.vault import Vault
from keylease.wiring import Beginning, parent_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keylease.keystores.base import KeyStore, Kind
    from keylease.model import Caller, Options
    from keylease.session.service import SessionService
    from keylease.shares.base import ShareStore
    from keylease.system.clock import Clock

__all__ = ["FrozenClock", "KeyStoreContract", "MemoryKeyStore", "MemoryWiring", "memory_service"]

_PATIENCE_SECONDS: Final = 60


class FrozenClock:
    """Both clocks; only the test moves them.

    It starts an hour after boot, in the first boot, at a fixed date.

    New in version 0.1.0.
    """

    def __init__(self, wall_seconds: float = 1_790_000_000, boot_seconds: float = 3600) -> None:
        self._wall_ns = _nanoseconds(wall_seconds)
        self._boot_ns = _nanoseconds(boot_seconds)
        self._boots = 1

    def now(self) -> Moment:
        """Return the same reading until the test moves a clock."""
        return Moment(self._wall_ns, self._boot_ns, f"{self._boots:032x}")

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._wall_ns += _nanoseconds(seconds)
        self._boot_ns += _nanoseconds(seconds)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep. Both clocks count through suspend."""
        self.advance(seconds)

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock to this Unix time, like the date command."""
        self._wall_ns = _nanoseconds(seconds)

    def reboot(self, seconds: float = 60) -> None:
        """Reboot the machine. The wall clock advances by `seconds`."""
        self._wall_ns += _nanoseconds(seconds)
        self._boot_ns = _nanoseconds(1)
        self._boots += 1


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)


class MemoryKeyStore:
    """A keychain that lasts as long as the object.

    It can imitate a real one's states: after `lock`, `hang` or `vanish` every call refuses like a
    locked, hung or missing keychain, until `recover`.

    Args:
        survives_reboot: The keychain's property of that name. If false, `reboot` clears it.
        instance: The return value of `instance`.

    New in version 0.1.0.
    """

    name = "memory"
    title = "memory of this process"

    def __init__(self, *, survives_reboot: bool = True, instance: str = "") -> None:
        self.survives_reboot = survives_reboot
        self._instance = instance
        self._keys: dict[Item, Secret] = {}
        self._refusal: tuple[type[KeychainUnavailableError], str] | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """The stored items in the order of their adding, locked or not."""
        return tuple(self._keys)

    def lock(self) -> None:
        """Refuse every call from now on: the keychain exists and is locked."""
        self._refusal = (KeychainUnavailableError, "the keychain in memory is locked")

    def hang(self) -> None:
        """Refuse every call from now on, as after a timeout."""
        self._refusal = (KeychainUnavailableError, "the keychain in memory gave no answer in time")

    def vanish(self) -> None:
        """Refuse every call from now on: there is no such keychain."""
        self._refusal = (KeychainMissingError, "there is no keychain in memory")

    def recover(self) -> None:
        """Answer again. Nothing was lost."""
        self._refusal = None

    def reboot(self) -> None:
        """Reboot the machine: forget every key, unless the keychain survives it."""
        if not self.survives_reboot:
            self._keys.clear()

    def instance(self) -> str:
        """Return the constructor's argument."""
        self._answer()
        return self._instance

    def probe(self) -> None:
        """Refuse if told to."""
        self._answer()

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return a copy of each key, or `None` where there is none."""
        self._answer()
        found = [self._keys.get(item) for item in items]
        return [None if key is None else Secret(key.reveal()) for key in found]

    def add(self, item: Item, key: Secret) -> None:
        """Store a copy of the key.

        Raises:
            KeychainUnavailableError: told to refuse, or the item exists already.
        """
        self._answer()
        if item in self._keys:
            msg = f"{item.service} is in the keychain already, and an item is never overwritten"
            raise KeychainUnavailableError(msg)
        self._keys[item] = Secret(key.reveal())

    def delete(self, item: Item) -> bool:
        """Wipe the key and return whether it existed."""
        self._answer()
        key = self._keys.pop(item, None)
        if key is not None:
            key.wipe()
        return key is not None

    def removal_command(self, item: Item) -> str:
        """Return an example command; there is no such tool."""
        return f"forget {shlex.quote(item.service)} {USERNAME}"

    def _answer(self) -> None:
        if self._refusal is not None:
            kind, message = self._refusal
            raise kind(message)


class MemoryWiring(Beginning):
    """A process's collaborators, as in `keylease.wiring`, but with a test's clock and keychain.

    The state is in real files, sealed and audited like a user's. A second object with the same
    directory, clock and keychain stands for the next process.

    Args:
        directory: The state directory, created at the first use.
        clock: Tells the time.
        keystore: The keychain of the vault.
        limits: How long new sessions live.
        settings: Everything that the configuration says about sessions, in place of `limits`.
        shares: Where volatile shares live; nowhere if not given, so no share expires by itself.

    New in version 0.1.0.
    """

    def __init__(  # noqa: PLR0913 - every part has its usual one
        self,
        directory: str | os.PathLike[str],
        *,
        clock: FrozenClock | None = None,
        keystore: KeyStore | None = None,
        limits: Limits | None = None,
        settings: Settings | None = None,
        shares: Sequence[ShareStore] | None = None,
    ) -> None:
        self.clock = clock or FrozenClock()
        self.keystore: KeyStore = keystore or MemoryKeyStore()
        self.shares = shares or (PolicyShares(),)
        self.seconds = _PATIENCE_SECONDS
        """How long each operation may wait for locks."""
        self._settings = settings or Settings(limits or Limits())
        self._settings.limits.check()
        self._directory = os.fspath(directory)

    def begin(
        self,
        caller: Caller | None = None,
        options: Options | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Operation:
        """Return what one operation works with, as `keylease.wiring` does.

        Neither a command line nor a variable changes what the constructor was given.
        """
        del options, environment
        deadline = Deadline(self.seconds)
        state = HeldState(lambda: Directory.open(self._directory, create=True))
        caller = caller or parent_process()
        return Operation(
            caller,
            self.clock,
            deadline,
            self._settings,
            state,
            Vault(
                state,
                open_keystore=lambda _: self.keystore,
                choose_keystore=lambda: self.keystore,
                wanted=None,
                deadline=deadline,
            ),
            SessionStore(state, self.shares, deadline),
            AuditLog(state, deadline, caller),
        )


def memory_service(
    directory: str | os.PathLike[str],
    *,
    clock: FrozenClock | None = None,
    keystore: KeyStore | None = None,
) -> SessionService:
    """Return a session service with the clock and the keychain of the test.

    Args:
        directory: The state directory, such as pytest's `tmp_path / "state"`.
        clock: Tells the time; a new `FrozenClock` if not given.
        keystore: The keychain of the vault; a new `MemoryKeyStore` if not given.

    New in version 0.1.0.
    """
    return MemoryWiring(directory, clock=clock, keystore=keystore).session


class KeyStoreContract:
    """The tests that every keychain must pass. Inherit them and define the fixture `store`.

    ::

        class TestMyKeyStore(KeyStoreContract):
            @pytest.fixture
            def store(self):
                return MyKeyStore(Deadline(10))

    Every test uses items of a random vault id and removes them. The messages name the broken rule
    and never show a key.

    New in version 0.1.0.
    """

    def reopen(self, store: KeyStore) -> KeyStore:
        """Return another object for the same keychain, like another process. Override it."""
        return store

    def test_it_has_a_name_a_title_and_says_whether_it_survives_a_reboot(
        self, store: KeyStore
    ) -> None:
        """The vault is pinned to the name, and messages show the title."""
        _demand(bool(store.name) and store.name == store.name.strip(), "the name is a word")
        _demand(bool(store.title), "the title is not empty")
        _demand(isinstance(store.survives_reboot, bool), "survives_reboot is True or False")

    def test_probe_returns_where_a_key_can_be_put(self, store: KeyStore) -> None:
        """A working keychain passes its own probe."""
        store.probe()

    def test_probe_leaves_nothing_that_add_would_meet(self, store: KeyStore) -> None:
        """A probe changes nothing: afterwards the stored key is still the only one."""
        item = _fresh()
        with _put(store, item):
            store.probe()
            _demand(_reads(store, item), "the key is still there after probe")

    def test_instance_is_the_same_each_time(self, store: KeyStore) -> None:
        """A vault pinned to this keychain recognises it later."""
        instance = self.reopen(store).instance()
        _demand(isinstance(instance, str), "instance is a str")
        _demand(instance == store.instance(), "instance does not change")

    def test_what_was_never_added_is_absent(self, store: KeyStore) -> None:
        """Absent is an answer, not an error."""
        item = _fresh()
        _demand(_absent(store, item), "an item that was never put reads as None")

    def test_nothing_asked_nothing_answered(self, store: KeyStore) -> None:
        """Reading no items returns no keys."""
        _demand(store.read([]) == [], "reading no items gives no keys")

    def test_a_key_is_read_as_it_was_put(self, store: KeyStore) -> None:
        """Every byte comes back: NUL, newline, and bytes that are not UTF-8."""
        for key in (bytes(KEY_BYTES), bytes(range(KEY_BYTES)), b"\xff\n\x00\xed\xa0\x80\r=" * 4):
            item = _fresh()
            with _put(store, item, key):
                _demand(_reads(store, item, key), "the key is read as it was put")
                _demand(_reads(self.reopen(store), item, key), "another process reads it too")

    def test_both_keys_are_read_in_the_order_they_were_asked_for(self, store: KeyStore) -> None:
        """The keychain never confuses the session key with the audit key, present or absent."""
        session = _fresh()
        audit = session._replace(kind="audit-key")
        with _put(store, audit):
            absent, found = store.read([session, audit])
            _demand(absent is None and found is not None, "only the audit key was put")
            with _put(store, session):
                asked = [audit, session, audit]
                keys = store.read(asked)
                _demand(
                    all(
                        key is not None and key.matches(Secret(_KEYS[item.kind]))
                        for key, item in zip(keys, asked, strict=True)
                    ),
                    "each key is at the place of its item",
                )

    def test_a_read_key_belongs_to_the_reader(self, store: KeyStore) -> None:
        """Wiping a key that was read does not wipe the keychain."""
        item = _fresh()
        with _put(store, item):
            for key in store.read([item]):
                if key is not None:
                    key.wipe()
            _demand(_reads(store, item), "the key is still there after the reader wiped its copy")

    def test_the_key_that_was_put_stays_with_the_caller(self, store: KeyStore) -> None:
        """Storing a key does not wipe it, and wiping it later does not change the keychain."""
        item = _fresh()
        key = Secret(_KEYS[item.kind])
        store.add(item, key)
        try:
            _demand(key.matches(Secret(_KEYS[item.kind])), "the caller's key is as it was")
            key.wipe()
            _demand(_reads(store, item), "the keychain has a copy of its own")
        finally:
            store.delete(item)

    def test_a_key_is_never_overwritten(self, store: KeyStore) -> None:
        """A second key under the same name is refused, and the first one stays."""
        item = _fresh()
        with _put(store, item):
            try:
                store.add(item, Secret(bytes(KEY_BYTES)))
            except KeychainUnavailableError:
                pass
            else:
                _demand(holds=False, rule="adding an item that is there is refused")
            _demand(_reads(store, item), "the first key stays")

    def test_vaults_and_generations_do_not_mix(self, store: KeyStore) -> None:
        """The key of another vault or another generation does not count."""
        item, other = _fresh(), _fresh()
        later = item._replace(generation=item.generation + 1)
        with _put(store, item):
            _demand(_absent(store, other, later), "only the item itself is found")
            _demand(not store.delete(later), "what is not there is not deleted")
            _demand(_reads(store, item), "the item itself stays")

    def test_a_prefix_of_a_name_is_another_name(self, store: KeyStore) -> None:
        """Generation 1 is not generation 10."""
        item = _fresh()
        tenth = item._replace(generation=10)
        with _put(store, tenth):
            _demand(_absent(store, item), "only the whole name counts")

    def test_deleted_is_gone(self, store: KeyStore) -> None:
        """A deleted key is absent for every process, and deleting says whether it existed."""
        item = _fresh()
        with _put(store, item):
            _demand(store.delete(item), "deleting says that it was there")
            _demand(_absent(store, item), "it is absent afterwards")
            _demand(_absent(self.reopen(store), item), "another process finds it absent")
            _demand(not store.delete(item), "deleting again says that it was not there")

    def test_a_deleted_name_can_be_used_again(self, store: KeyStore) -> None:
        """After deleting, the same item can be added again."""
        item = _fresh()
        with _put(store, item):
            store.delete(item)
        with _put(store, item, bytes(KEY_BYTES)):
            _demand(_reads(store, item, bytes(KEY_BYTES)), "the new key is read")

    def test_the_removal_command_names_the_item(self, store: KeyStore) -> None:
        """The command is one line that users can copy, and it names this item."""
        item = _fresh()
        command = store.removal_command(item)
        _demand(item.service in command, "the command names the service")
        _demand("\n" not in command, "the command is one line")

    def test_it_never_shows_a_key(self, store: KeyStore) -> None:
        """No text form of the keychain's object shows a key."""
        item = _fresh()
        with _put(store, item):
            key = _KEYS[item.kind]
            text = f"{store!r} {store!s} {vars(store) if hasattr(store, '__dict__') else ''}"
            _demand(key.hex() not in text and repr(key) not in text, "no key in any text form")


_KEYS: dict[Kind, bytes] = {
    "session-key": b"\x00contract: session-key" + bytes(10),
    "audit-key": b"\xffcontract: audit-key" + bytes(12),
}
"""Default keys of the contract's tests. They protect nothing."""


def _demand(holds: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Fail with the rule. `assert` would be silent under `python -O`."""
    if not holds:
        msg = f"broken rule: {rule}"
        raise AssertionError(msg)


def _fresh() -> Item:
    """Return an item of a random vault id."""
    return Item(os.urandom(8).hex(), "session-key", 1)


@contextmanager
def _put(store: KeyStore, item: Item, key: bytes | None = None) -> Iterator[None]:
    """Keep a key in the keychain for as long as the block lasts."""
    store.add(item, Secret(_KEYS[item.kind] if key is None else key))
    try:
        yield
    finally:
        store.delete(item)


def _absent(store: KeyStore, *items: Item) -> bool:
    """Return whether none of the items exists. A `Secret` is never compared with `==`."""
    return all(key is None for key in store.read(items))


def _reads(store: KeyStore, item: Item, key: bytes | None = None) -> bool:
    """Return whether the keychain has this key under this name."""
    (found,) = store.read([item])
    return found is not None and found.matches(Secret(_KEYS[item.kind] if key is None else key))


if TYPE_CHECKING:
    # mypy checks both against the interfaces that they implement.
    _CHECKED: tuple[Clock, KeyStore] = (FrozenClock(), MemoryKeyStore())
