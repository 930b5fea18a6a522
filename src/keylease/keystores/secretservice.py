"""The Secret Service of the desktop: GNOME Keyring, KeePassXC, KDE's wallet.

This module speaks to it on the session bus, by the freedesktop.org specification, with jeepney for
the messages. Each operation has one connection, and sends independent questions together.

It never shows a prompt: it sends no question that could raise one, and dismisses a prompt that a
service offers anyway. KeePassXC offers one for every addition and deletion, so keylease can only
read from it.

No wait exceeds the deadline, even if the service or the bus hangs. The answer is never "absent" if
the service is locked or has no default collection: see `_search`.

No secret goes through jeepney, which would make `bytes` of it. A key replaces a placeholder of the
same length in the finished message, and is read in place from the raw answer.

The transport of the secret is `plain`. Only the two ends and the bus see it, and they run as the
same user. A program that can read that socket's traffic can also read this process's memory.
"""

# jeepney has no type hints, and is not installed where there is no session bus.
# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores.base import (
    KEY_BYTES,
    TEXT_BYTES,
    USERNAME,
    Item,
    answering,
    key_from_text,
)
from keylease.secrets import base64text
from keylease.secrets.memory import allocate, secure_clear

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from jeepney import Message

    from keylease.keystores.base import KeyStore
    from keylease.secrets.secret import Secret
    from keylease.system.clock import Deadline

# Secret Service API Draft, version 0.2, "D-Bus API Reference".
NAME: Final = "org.freedesktop.secrets"
ROOT: Final = "/org/freedesktop/secrets"
SERVICE: Final = "org.freedesktop.Secret.Service"
COLLECTION: Final = "org.freedesktop.Secret.Collection"
ITEM: Final = "org.freedesktop.Secret.Item"
PROMPT: Final = "org.freedesktop.Secret.Prompt"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
NOTHING: Final = "/"
"""The path for no object: no prompt is needed, or no such alias."""

SECRETS: Final = "a{o(oayays)}"
"""The signature of the answer to GetSecrets, the only answer with secrets."""

# D-Bus Specification, "Message Bus Starting Services": no service owns the name or can be started
# for it. Any other failure means that the service exists and is broken.
NOBODY: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
    }
)

REASONS: Final = {
    "org.freedesktop.Secret.Error.IsLocked": "it is locked",
    "org.freedesktop.DBus.Error.NoReply": "the service ended, or gave no answer in time",
    "org.freedesktop.DBus.Error.AccessDenied": "the bus does not let this process talk to it",
}


# D-Bus Specification, "Message Format": the part that has the length of the rest.
_START_BYTES: Final = 16
# The specification allows 128 MiB, but the answers to keylease are short.
_LONGEST_MESSAGE: Final = 1 << 20


class _SearchResult(NamedTuple):
    """The result of a search in all unlocked collections."""

    paths: list[list[str]]
    """For each item, the objects that have its attributes."""
    default: str
    """The default collection, or `NOTHING`."""
    locked: list[str]
    """The collections that could not be searched."""


@answering
class SecretServiceKeyStore:
    """The Secret Service on the session bus.

    Args:
        deadline: When every operation has to have ended.
    """

    name = "secret-service"
    title = "Secret Service"
    survives_reboot = True

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def instance(self) -> str:
        """Return the path of the default collection.

        Another desktop's service, or another database of KeePassXC, has another default collection.
        An item that is missing there was not deleted here.

        Raises:
            KeychainUnavailableError: there is no default collection, or no service.
        """
        with _Bus(self._deadline) as bus:
            return _default(bus)

    def probe(self) -> None:
        """Return if the default collection exists and is unlocked.

        Raises:
            KeychainMissingError: there is no bus, no service, or no default collection.
            KeychainUnavailableError: it is locked, or hung.
        """
        with _Bus(self._deadline, KeychainMissingError) as bus:
            default = _default(bus)
            if _locked(bus, [default]):
                _refuse(f"its collection {default} is locked")

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each key, or `None` if a search of the whole service finds none.

        Raises:
            KeychainUnavailableError: it is locked, hung or missing, or a value is not a key.
        """
        if not items:
            return []
        with _Bus(self._deadline) as bus:
            return _read(bus, items)

    def add(self, item: Item, key: Secret) -> None:
        """Store a new item in the default collection, and read it back.

        The search and CreateItem are two steps, so the search is no lock: the callers hold the lock
        of the vault.

        Raises:
            KeychainUnavailableError: the item exists already, or was not stored.
        """
        with _Bus(self._deadline) as bus:
            default = _default(bus)
            found = _search(bus, [item])
            if default in found.locked:
                _refuse(f"its collection {default} is locked")
            if found.paths[0]:
                _refuse(f"{item.service} is there already, and an item is never overwritten")
            stand_in = os.urandom(TEXT_BYTES // 2).hex().encode("ascii")
            attributes = {
                "service": item.service,
                "username": USERNAME,
                "application": USERNAME,
                "kind": item.kind,
                "vault": item.vault,
            }
            properties = {
                f"{ITEM}.Label": ("s", item.label),
                f"{ITEM}.Attributes": ("a{ss}", attributes),
            }
            secret = (bus.session, b"", stand_in, "text/plain")
            body = (properties, secret, False)  # False: do not replace an existing item
            create = _call(default, COLLECTION, "CreateItem", "a{sv}(oayays)b", body)
            text = base64text.encode(key.reveal())
            try:
                (created,) = bus.ask((create, "oo"), instead={stand_in: text})
            finally:
                secure_clear(text)
            _demand_no_prompt(bus, created[1])
            (stored,) = _read(bus, [item])
            if stored is None or not stored.matches(key):
                _refuse(f"{item.service} was added but is not read back unchanged")

    def delete(self, item: Item) -> bool:
        """Delete every item of that name, and check that none is left.

        Raises:
            KeychainUnavailableError: it is locked or hung, or an item still exists.
        """
        with _Bus(self._deadline) as bus:
            found = _search(bus, [item])
            for path in found.paths[0]:
                (deleted,) = bus.ask((_call(path, ITEM, "Delete"), "o"))
                _demand_no_prompt(bus, deleted[0])
            left = _search(bus, [item])
            if left.paths[0]:
                _refuse(f"{item.service} was deleted and is still there")
            if not found.paths[0]:
                _demand_complete(left)
            return bool(found.paths[0])

    def removal_command(self, item: Item) -> str:
        """Return the secret-tool(1) command."""
        return f"secret-tool clear service {item.service} username {USERNAME}"


def _default(bus: _Bus) -> str:
    """Return the default collection.

    Raises:
        KeychainUnavailableError: there is none, because this account never made a keyring.
    """
    (answer,) = bus.ask((_call(ROOT, SERVICE, "ReadAlias", "s", ("default",)), "o"))
    default = str(answer[0])
    if default == NOTHING:
        bus.refuse_missing("the Secret Service has no default collection: no keyring was ever made")
    return default


def _locked(bus: _Bus, collections: Sequence[str]) -> list[str]:
    """Return the collections that are locked. Asking does not prompt."""
    answers = bus.ask(
        *(
            (_call(path, PROPERTIES, "Get", "ss", (COLLECTION, "Locked")), "v")
            for path in collections
        )
    )
    return [
        path
        for path, (answer,) in zip(collections, answers, strict=True)
        if answer != ("b", False)  # any other answer counts as locked, too
    ]


def _search(bus: _Bus, items: Sequence[Item]) -> _SearchResult:
    """Search every unlocked collection for the items.

    NOTE: Service.SearchItems would search all collections in one call. But with a locked database
    KeePassXC 2.7 does not answer until the user has unlocked it.
    """
    alias, listed = bus.ask(
        (_call(ROOT, SERVICE, "ReadAlias", "s", ("default",)), "o"),
        (_call(ROOT, PROPERTIES, "Get", "ss", (SERVICE, "Collections")), "v"),
    )
    signature, collections = listed[0]
    if signature != "ao":
        _refuse("it does not say what collections it has")
    locked = _locked(bus, collections)
    unlocked = [path for path in collections if path not in locked]
    answers = iter(
        bus.ask(
            *(
                (_call(path, COLLECTION, "SearchItems", "a{ss}", (_attributes(item),)), "ao")
                for item in items
                for path in unlocked
            )
        )
    )
    paths = [[found for _ in unlocked for found in next(answers)[0]] for _ in items]
    if not all(paths):
        # A collection that was locked between the first check and the search looks empty. So an
        # item is absent only if all collections are still unlocked now.
        locked = _locked(bus, collections)
    return _SearchResult(paths, str(alias[0]), locked)


def _attributes(item: Item) -> dict[str, str]:
    """Return the search attributes of the item: the two that the keyring library uses."""
    return {"service": item.service, "username": USERNAME}


def _demand_complete(found: _SearchResult) -> None:
    """Refuse unless an item that was not found is certainly absent.

    Raises:
        KeychainUnavailableError: a collection is locked, or there is no default collection. A
            service that was started without the user's keyrings has none; it has only its
            collection in memory.
    """
    if found.locked:
        _refuse(f"its collection {found.locked[0]} is locked")
    if found.default == NOTHING:
        _refuse("it has no default collection, so it is not the one that the keys are in")


def _read(bus: _Bus, items: Sequence[Item]) -> list[Secret | None]:
    found = _search(bus, items)
    if not all(found.paths):
        _demand_complete(found)
    wanted = [path for paths in found.paths for path in paths]
    if not wanted:
        return [None for _ in items]
    request = _call(ROOT, SERVICE, "GetSecrets", "aoo", (wanted, bus.session))
    (answer,) = bus.ask((request, SECRETS))
    secrets: dict[str, memoryview] = answer[0]
    try:
        return [
            _key(item, [secrets.get(path) for path in paths]) if paths else None
            for item, paths in zip(items, found.paths, strict=True)
        ]
    finally:
        for value in secrets.values():
            secure_clear(value)


def _key(item: Item, secrets: Sequence[memoryview | None]) -> Secret:
    """Return the one key among the values of the objects that carry the item's name.

    Raises:
        KeychainUnavailableError: a value is missing or not a key, or the values differ.
    """
    keys = []
    for secret in secrets:
        if secret is None:
            # GetSecrets leaves out items that were locked or deleted meanwhile, not saying which.
            _refuse(f"it does not return {item.service}")
        key = key_from_text(secret)
        if key is None:
            _refuse(f"{item.service} holds no key of {KEY_BYTES} bytes in base64")
        keys.append(key)
    if not all(key.matches(keys[0]) for key in keys):
        _refuse(f"it has {len(keys)} different items called {item.service}")
    return keys[0]


def _demand_no_prompt(bus: _Bus, prompt: str) -> None:
    """Refuse if the service wants to ask the user first.

    A prompt is not shown until its own method is called. Dismiss it, so that none is left.
    """
    if prompt != NOTHING:
        bus.ask((_call(prompt, PROMPT, "Dismiss"), ""))
        hint = "change the item with the service's own tools, or name another keychain"
        _refuse("it wants to ask the user first, and keylease never shows a prompt", hint)


def _refuse(reason: str, hint: str | None = None) -> NoReturn:
    msg = f"the Secret Service cannot be used: {reason}"
    raise KeychainUnavailableError(msg, hint) from None


def _call(
    path: str, interface: str, member: str, signature: str | None = None, body: tuple[Any, ...] = ()
) -> Message:
    """Return the method call. Building it sends nothing."""
    from jeepney import DBusAddress, new_method_call

    try:
        return new_method_call(DBusAddress(path, NAME, interface), member, signature, body)
    except ValueError:
        # Our own names are valid, so a path from the service is not.
        _refuse("it gave an answer that is not in the specification")


class _Bus:
    """A connection to the session bus on which every wait ends at the deadline.

    jeepney has its own connections. But their first call has no timeout, so a hung bus would hang
    the helper, and they wait for each answer before the next question.

    Args:
        deadline: When every wait must have ended.
        missing: The error if there is no bus or no service. For a vault that is pinned to this
            keychain it means *unavailable*: the state of its key is unknown.

    Raises:
        KeychainUnavailableError: the bus or the service gives no answer, or a wrong one.
    """

    def __init__(
        self,
        deadline: Deadline,
        missing: type[KeychainUnavailableError] = KeychainUnavailableError,
    ) -> None:
        from jeepney.bus_messages import message_bus

        self._deadline = deadline
        self._missing = missing
        self._serial = 0
        self._socket = self._connect()
        # The first message on a bus is Hello. Open the service's session (plain transport) at the
        # same time; it ends with the connection.
        session = _call(ROOT, SERVICE, "OpenSession", "sv", ("plain", ("s", "")))
        try:
            _, opened = self.ask((message_bus.Hello(), "s"), (session, "vo"))
        except BaseException:
            self._socket.close()
            raise
        self.session = str(opened[1])

    def __enter__(self) -> Self:
        """Return the connection. The end of the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; the service forgets the session with it."""
        self._socket.close()

    def _connect(self) -> socket.socket:
        from jeepney.io.blocking import prep_socket

        address = self._address()
        try:
            connected: socket.socket = prep_socket(address, timeout=self._time_left())
        except TimeoutError:
            _refuse("the session bus gave no answer in time")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self.refuse_missing(f"no program listens on the session bus: {error.strerror}")
        except OSError as error:
            _refuse(f"the session bus cannot be reached: {error.strerror or error}")
        except ValueError:
            # jeepney's AuthenticationError is one.
            _refuse("the session bus does not let this user in")
        return connected

    def _address(self) -> str:
        """Return where the session bus listens.

        D-Bus Specification, "Well-known Message Bus Instances". Without the variable use systemd's
        socket, as libdbus and sd-bus do.
        """
        from jeepney.bus import get_connectable_addresses

        listed = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
        if not listed:
            path = os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), "bus")
            if os.path.isabs(path) and os.path.exists(path):
                return path
            self.refuse_missing(
                "this login has no session bus: DBUS_SESSION_BUS_ADDRESS is not set"
            )
        try:
            return str(next(get_connectable_addresses(listed)))
        except (ValueError, RuntimeError, StopIteration):
            self.refuse_missing("DBUS_SESSION_BUS_ADDRESS names no Unix socket")

    def ask(
        self, *questions: tuple[Message, str], instead: Mapping[bytes, memoryview] | None = None
    ) -> list[tuple[Any, ...]]:
        """Send every question at once and return the answers in the same order.

        Args:
            questions: Each with the required signature of its answer, so that the caller can unpack
                the answers without checks.
            instead: The bytes to send in place of each placeholder of the same length.

        Raises:
            KeychainUnavailableError: an answer is late, an error, or not of that signature.
        """
        waiting = {}
        parts = []
        for place, (message, signature) in enumerate(questions):
            self._serial += 1
            waiting[self._serial] = (place, signature)
            parts.append(message.serialise(serial=self._serial))
        sent = _put_in(b"".join(parts), instead or {})
        answers: list[tuple[Any, ...]] = [()] * len(questions)
        try:
            self._socket.settimeout(self._time_left())
            self._socket.sendall(sent)
            while waiting:
                reply, secrets = self._receive()
                serial = _field(reply, "reply_serial")
                if serial in waiting:
                    place, signature = waiting.pop(serial)
                    body = self._body(reply, signature)
                    answers[place] = (secrets,) if signature == SECRETS else body
        except TimeoutError:
            _refuse("it gave no answer in time")
        except OSError as error:
            _refuse(f"the session bus hung up: {error.strerror}")
        except (ValueError, LookupError, TypeError, struct.error):
            # jeepney's parser raises these for bytes that are not a message.
            _refuse("the session bus does not speak D-Bus")
        finally:
            secure_clear(sent)
        return answers

    def _body(self, reply: Message, signature: str) -> tuple[Any, ...]:
        """Return the content of the reply, if it has that signature and is not an error."""
        from jeepney import MessageType

        if reply.header.message_type is MessageType.error:
            error = str(_field(reply, "error_name"))
            if error in NOBODY:
                self.refuse_missing("there is no Secret Service on the session bus")
            # Leave out the service's own message: it can repeat what was sent to it.
            _refuse(REASONS.get(error, f"it answered {error}"))
        if _field(reply, "signature") != (signature or None):
            _refuse("it gave an answer that is not in the specification")
        return tuple(reply.body)

    def _receive(self) -> tuple[Message, dict[str, memoryview]]:
        """Return the next message without its secrets, and the secrets separately."""
        from jeepney import Message

        start = allocate(_START_BYTES)
        self._fill(start)
        length, body, order = _lengths(start)
        whole = allocate(length)
        try:
            whole[:_START_BYTES] = start
            self._fill(whole[_START_BYTES:])
            # The header contains no secrets; the body may.
            signature = f"\x01g\0{chr(len(SECRETS))}{SECRETS}\0".encode("ascii")
            secrets = {}
            if signature in bytes(whole[:body]):
                secrets = _take_out(whole, body, order)
            return Message.from_buffer(bytes(whole)), secrets
        finally:
            secure_clear(whole)

    def _fill(self, buffer: memoryview) -> None:
        while buffer:
            self._socket.settimeout(self._time_left())
            count = self._socket.recv_into(buffer)
            if not count:
                raise ConnectionResetError(0, "end of file")
            buffer = buffer[count:]

    def _time_left(self) -> float:
        # A timeout of zero would mean "do not block".
        remaining = self._deadline.remaining()
        if not remaining:
            raise TimeoutError
        return remaining

    def refuse_missing(self, message: str) -> NoReturn:
        """Raise the operation's error for a missing keychain."""
        raise self._missing(message) from None


def _put_in(message: bytes, instead: Mapping[bytes, memoryview]) -> memoryview:
    """Return the message with each placeholder replaced. The caller clears it."""
    whole = allocate(len(message))
    whole[:] = message
    for stand_in, value in instead.items():
        at = message.index(stand_in)
        whole[at : at + len(stand_in)] = value
    return whole


def _lengths(start: memoryview) -> tuple[int, int, str]:
    """Return the length of a message, the offset of its body, and its byte order.

    D-Bus Specification, "Message Format": the order, three bytes, the body's length, the serial,
    the length of the header's fields; the body begins at a multiple of eight.

    Raises:
        ValueError: these bytes do not begin a message, or it is too long for an answer.
    """
    order = {ord("l"): "<", ord("B"): ">"}.get(start[0])
    if order is None:
        msg = "no message"
        raise ValueError(msg)
    content, _, fields = struct.unpack_from(f"{order}III", start, 4)
    body = _aligned(_START_BYTES + fields, 8)
    if body + content > _LONGEST_MESSAGE:
        msg = "a message that is too long"
        raise ValueError(msg)
    return body + content, body, order


def _take_out(message: memoryview, at: int, order: str) -> dict[str, memoryview]:
    """Return the secrets in a message by the paths of their items, and clear them in the message.

    D-Bus Specification, "Marshaling"; the signature is `SECRETS`. A secret is (session, parameters,
    value, content type); see the Secret Service API, "Secret".

    Raises:
        LookupError, ValueError, struct.error: the message does not match its signature.
    """
    found = {}
    (length,) = struct.unpack_from(f"{order}I", message, at)
    at = _aligned(at + 4, 8)  # the length does not include this padding
    end = at + length
    while at < end:
        path, at = _bytes_at(message, _aligned(at, 8), order)
        _, at = _bytes_at(message, _aligned(at + 1, 8), order)  # a text has a NUL after it
        _, at = _bytes_at(message, at + 1, order)
        value, at = _bytes_at(message, at, order)
        _, at = _bytes_at(message, at, order)
        at += 1
        secret = allocate(len(value))
        secret[:] = value
        secure_clear(value)
        found[str(path, "utf-8")] = secret
    return found


def _bytes_at(message: memoryview, at: int, order: str) -> tuple[memoryview, int]:
    """Return a text or an array of bytes (its length precedes it), and the offset of its end."""
    at = _aligned(at, 4) + 4
    (length,) = struct.unpack_from(f"{order}I", message, at - 4)
    if length > len(message) - at:
        msg = "a value that is cut off"
        raise ValueError(msg)
    return message[at : at + length], at + length


def _aligned(at: int, step: int) -> int:
    return -(-at // step) * step


def _field(message: Message, name: str) -> Any:  # noqa: ANN401 - each field has a type of its own
    from jeepney import HeaderFields

    return message.header.fields.get(HeaderFields[name])


def open_keystore(name: str, deadline: Deadline) -> KeyStore:
    """Return the Secret Service, or a keychain that refuses with the reason."""
    try:
        import jeepney  # noqa: F401 - only check that it is installed
    except ImportError:
        from keylease.keystores.unavailable import UnavailableKeyStore

        reason = "the Secret Service needs the Python package jeepney, which is not installed"
        return UnavailableKeyStore(name, reason, KeychainMissingError)
    return SecretServiceKeyStore(deadline)
