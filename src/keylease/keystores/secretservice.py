"""The Secret Service of the desktop: GNOME Keyring, KeePassXC, KDE's wallet.

Spoken directly on the session bus, after the freedesktop.org specification, with jeepney for the
messages. One connection for each operation, and questions that do not depend on each other's
answers travel together.

Never a prompt: nothing is ever asked that could raise one, and a prompt that a service offers all
the same is dismissed. So KeePassXC, which answers every addition and every deletion with a prompt,
can be read from and no more.

Never a wait beyond the deadline, whoever is hung: the service or the bus. Never "absent" from a
service that is locked, or that has no default collection: see `_search`.

No secret goes through jeepney, which would make `bytes` of it. A key is written over a stand-in of
the same length in the message that jeepney made, and read out of the answer where it lies.

The transport of the secret is `plain`. Only the two ends and the bus see it, they all run as the
same user, and whoever can read that socket's traffic can read the process that holds the key.
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
"""The path that stands for no object: no prompt is needed, no such alias."""

SECRETS: Final = "a{o(oayays)}"
"""The signature of the one answer that has secrets in it: GetSecrets'."""

# D-Bus Specification, "Message Bus Starting Services": nobody owns the name, and nobody can be
# started for it. Any other failure to start one is a service that is there and broken.
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


# D-Bus Specification, "Message Format": what says how long the rest is.
_START_BYTES: Final = 16
# The specification allows 128 MiB. What keylease asks has short answers.
_LONGEST_MESSAGE: Final = 1 << 20


class _SearchResult(NamedTuple):
    """What a search of all unlocked collections gave."""

    paths: list[list[str]]
    """For each item that was asked for, the objects that have its attributes."""
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

        Another desktop's service, or another database of KeePassXC, has another default collection,
        and what is not in that one was not deleted from this one.

        Raises:
            KeychainUnavailableError: there is no default collection, or nobody to ask.
        """
        with _Bus(self._deadline) as bus:
            return _default(bus)

    def probe(self) -> None:
        """Return if the default collection is there and unlocked.

        Raises:
            KeychainMissingError: there is no bus, no service, or no default collection.
            KeychainUnavailableError: it is locked, or hung.
        """
        with _Bus(self._deadline, KeychainMissingError) as bus:
            default = _default(bus)
            if _locked(bus, [default]):
                _refuse(f"its collection {default} is locked")

    def read(self, items: Sequence[Item]) -> list[Secret | None]:
        """Return each key, or `None` where the whole service was searched and has none.

        Raises:
            KeychainUnavailableError: it is locked, hung or not there, or a value is no key.
        """
        if not items:
            return []
        with _Bus(self._deadline) as bus:
            return _read(bus, items)

    def add(self, item: Item, key: Secret) -> None:
        """Put a new item into the default collection, and read it back.

        The specification's CreateItem compares and adds in two steps, so the search before it is no
        lock: the callers that share a vault hold the vault's own.

        Raises:
            KeychainUnavailableError: it is there already, or was not put.
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
            body = (properties, secret, False)  # False: do not replace what has these attributes
            create = _call(default, COLLECTION, "CreateItem", "a{sv}(oayays)b", body)
            text = base64text.encode(key.reveal())
            try:
                (created,) = bus.ask((create, "oo"), instead={stand_in: text})
            finally:
                secure_clear(text)
            _demand_no_prompt(bus, created[1])
            (stored,) = _read(bus, [item])
            if stored is None or not stored.matches(key):
                _refuse(f"{item.service} was put and is not read back as it was")

    def delete(self, item: Item) -> bool:
        """Delete every item of that name, and look whether it is gone.

        Raises:
            KeychainUnavailableError: it is locked, hung, or still there.
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
        KeychainUnavailableError: there is none: nobody ever made a keyring in this account.
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
        if answer != ("b", False)  # what is no boolean counts as locked too
    ]


def _search(bus: _Bus, items: Sequence[Item]) -> _SearchResult:
    """Search every unlocked collection for the items.

    NOTE: not Service.SearchItems, which covers all collections in one call. On a locked database
    KeePassXC 2.7 lets it wait until the user has unlocked.
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
        # A collection that was locked after it was asked whether it is, and before it was searched,
        # looks empty. So what is absent counts only if all are still unlocked now.
        locked = _locked(bus, collections)
    return _SearchResult(paths, str(alias[0]), locked)


def _attributes(item: Item) -> dict[str, str]:
    """Return what the item is found by: the same two that the keyring library goes by."""
    return {"service": item.service, "username": USERNAME}


def _demand_complete(found: _SearchResult) -> None:
    """Refuse unless what was not found is surely not there.

    Raises:
        KeychainUnavailableError: a collection is locked, or there is no default collection. The
            latter is what a service looks like that was started without the user's keyrings; one
            collection it always has, in memory.
    """
    if found.locked:
        _refuse(f"its collection {found.locked[0]} is locked")
    if found.default == NOTHING:
        _refuse("it has no default collection, so it is not the one that keys were put into")


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
        KeychainUnavailableError: a value was not given out, is no key, or they differ.
    """
    keys = []
    for secret in secrets:
        if secret is None:
            # GetSecrets leaves out what is locked or gone in the meantime: nobody knows which.
            _refuse(f"it does not give out {item.service}")
        key = key_from_text(secret)
        if key is None:
            _refuse(f"{item.service} holds no key of {KEY_BYTES} bytes in base64")
        keys.append(key)
    if not all(key.matches(keys[0]) for key in keys):
        _refuse(f"it has {len(keys)} different items called {item.service}")
    return keys[0]


def _demand_no_prompt(bus: _Bus, prompt: str) -> None:
    """Refuse if the service wants to ask the user before it does what it was told.

    A prompt shows nothing until its own method is called; dismissing it takes it away again.
    """
    if prompt != NOTHING:
        bus.ask((_call(prompt, PROMPT, "Dismiss"), ""))
        hint = "change the item with the service's own tools, or name another keychain"
        _refuse("it wants to ask the user first, and keylease never raises a prompt", hint)


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
        # Our own names are right, so it is a path that the service gave.
        _refuse("it gave an answer that is not in the specification")


class _Bus:
    """A connection to the session bus on which every wait ends at the deadline.

    jeepney has connections of its own. Their first call has no time limit, so a hung bus would hang
    the helper; and they wait for each answer before the next question.

    Args:
        deadline: When every wait has to have ended.
        missing: What is raised where there is no bus or nobody provides the service. For a vault
            that is pinned to this keychain that is *unavailable*: nothing is known about its key.

    Raises:
        KeychainUnavailableError: the bus or the service does not answer, or not as it should.
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
        # The first message on a bus is Hello. The service's session, in which secrets are sent as
        # they are, is opened in the same breath; it ends with the connection.
        session = _call(ROOT, SERVICE, "OpenSession", "sv", ("plain", ("s", "")))
        try:
            _, opened = self.ask((message_bus.Hello(), "s"), (session, "vo"))
        except BaseException:
            self._socket.close()
            raise
        self.session = str(opened[1])

    def __enter__(self) -> Self:
        """Return the connection; it is closed when the block is left."""
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
            self.refuse_missing(f"nobody listens on the session bus: {error.strerror}")
        except OSError as error:
            _refuse(f"the session bus cannot be reached: {error.strerror or error}")
        except ValueError:
            # jeepney's AuthenticationError is one.
            _refuse("the session bus does not let this user in")
        return connected

    def _address(self) -> str:
        """Return where the session bus listens.

        D-Bus Specification, "Well-known Message Bus Instances"; without the variable, systemd's
        place for it, as libdbus and sd-bus have it.
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
            questions: Each with the signature that its answer has to have; so the answers can be
                unpacked without looking.
            instead: What is sent in the place of a stand-in of the same length.

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
            # What jeepney's parser raises on bytes that are no message.
            _refuse("the session bus does not speak D-Bus")
        finally:
            secure_clear(sent)
        return answers

    def _body(self, reply: Message, signature: str) -> tuple[Any, ...]:
        """Return what the reply says, if it is of that signature and no error."""
        from jeepney import MessageType

        if reply.header.message_type is MessageType.error:
            error = str(_field(reply, "error_name"))
            if error in NOBODY:
                self.refuse_missing("there is no Secret Service on the session bus")
            # The service's own words are left out: they can repeat what was sent to it.
            _refuse(REASONS.get(error, f"it answered {error}"))
        if _field(reply, "signature") != (signature or None):
            _refuse("it gave an answer that is not in the specification")
        return tuple(reply.body)

    def _receive(self) -> tuple[Message, dict[str, memoryview]]:
        """Return the next message, and the secrets in it: those are not in the message."""
        from jeepney import Message

        start = allocate(_START_BYTES)
        self._fill(start)
        length, body, order = _lengths(start)
        whole = allocate(length)
        try:
            whole[:_START_BYTES] = start
            self._fill(whole[_START_BYTES:])
            # Only this far are there no secrets, whatever comes after it.
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
        # A timeout of zero would mean "do not block", which is another question.
        remaining = self._deadline.remaining()
        if not remaining:
            raise TimeoutError
        return remaining

    def refuse_missing(self, message: str) -> NoReturn:
        """Say that there is no such keychain, in the way that the operation has to say it."""
        raise self._missing(message) from None


def _put_in(message: bytes, instead: Mapping[bytes, memoryview]) -> memoryview:
    """Return the message with what is sent in the place of each stand-in. The caller clears it."""
    whole = allocate(len(message))
    whole[:] = message
    for stand_in, value in instead.items():
        at = message.index(stand_in)
        whole[at : at + len(stand_in)] = value
    return whole


def _lengths(start: memoryview) -> tuple[int, int, str]:
    """Return how long a message is, where its body begins, and its byte order.

    D-Bus Specification, "Message Format": the order, three bytes, the body's length, the serial,
    the length of the header's fields; the body begins at a multiple of eight.

    Raises:
        ValueError: these are not the first bytes of a message, or it is too long to be an answer.
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
    """Return the secrets in a message by the paths of their items, and clear them in there.

    D-Bus Specification, "Marshaling"; the signature is `SECRETS`. A secret is (session, parameters,
    value, content type); see the Secret Service API, "Secret".

    Raises:
        LookupError, ValueError, struct.error: the message is not what it says it is.
    """
    found = {}
    (length,) = struct.unpack_from(f"{order}I", message, at)
    at = _aligned(at + 4, 8)  # which does not count for the length
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
    """Return a text or an array of bytes, which has its length before it, and where it ends."""
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
    """Return the Secret Service, or why it cannot be spoken to."""
    try:
        import jeepney  # noqa: F401 - whether it is there is the question
    except ImportError:
        from keylease.keystores.unavailable import UnavailableKeyStore

        reason = "the Secret Service needs the Python package jeepney, which is not installed"
        return UnavailableKeyStore(name, reason, KeychainMissingError)
    return SecretServiceKeyStore(deadline)
