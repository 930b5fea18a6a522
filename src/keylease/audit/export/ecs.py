"""A line as a document of the Elastic Common Schema, which many log systems understand.

Records in, documents out. Values that have a field in the schema are there; the rest is below
`keylease`, because the schema allows a program's own fields. The log shipper adds the machine,
which it knows better.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keylease.audit.read.stats import name_of
from keylease.model import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.audit.line import Record

VERSION: Final = "8.11.0"
"""The version of the schema. Every field used here is in the later ones, too."""

_OUTCOMES: Final = {"ok": "success", "refused": "failure"}


class _Kind(NamedTuple):
    """`event.category` and `event.type`, for which the schema has closed lists."""

    category: tuple[str, ...]
    type: tuple[str, ...]


_LOGIN: Final = ("authentication", "session")
# ECS, event.category: the event types expected of authentication and session are start, end and
# info; of configuration and file they are access, change, creation, deletion and info. A release is
# an info: the schema has no type for a credential that is handed out.
_KINDS: Final[Mapping[str, _Kind]] = {
    "vault.created": _Kind(("configuration",), ("creation",)),
    "vault.revoked": _Kind(("configuration",), ("deletion",)),
    "key.rotated": _Kind(("configuration",), ("change",)),
    "key.deleted": _Kind(("configuration",), ("deletion",)),
    "key.exported": _Kind(("configuration",), ("access",)),
    "session.created": _Kind(_LOGIN, ("start",)),
    "session.validated": _Kind(("session",), ("info",)),
    "session.extended": _Kind(("session",), ("info",)),
    "session.released": _Kind(_LOGIN, ("info",)),
    "session.confirmed": _Kind(("session",), ("info",)),
    "session.refused": _Kind(("authentication",), ("info",)),
    "session.ended": _Kind(_LOGIN, ("end",)),
    "session.weakened": _Kind(("session",), ("info",)),
    "login": _Kind(("authentication",), ("start",)),
    "logout": _Kind(("authentication",), ("end",)),
    "request.refused": _Kind(("authentication",), ("info",)),
    "config.changed": _Kind(("configuration",), ("change",)),
    "audit.gap": _Kind(("file",), ("info",)),
    "audit.recovered": _Kind(("file",), ("info",)),
    "audit.rotated": _Kind(("file",), ("deletion",)),
    "audit.truncated": _Kind(("file",), ("info",)),
    "audit.unvouched": _Kind(("file",), ("info",)),
}
_UNKNOWN: Final = _Kind((), ("info",))
"""For an event of a later version: the schema allows no word outside its lists."""


def document(record: Record, digest: str) -> dict[str, Any]:
    """Return the line as one document, without fields that are `null`.

    Args:
        record: The line.
        digest: The SHA-256 of its bytes, which is `prev` in the next line. With it, documents can
            be compared with the log and with each other.
    """
    kind = _KINDS.get(record.event, _UNKNOWN)
    own = {
        "boottime_ns": record.boottime_ns,
        "session": {"id": record.session},
        "caller": {"terminal": record.caller.get("terminal")},
        "chain": {"key": record.key, "prev": record.prev, "mac": record.mac},
        **record.extra,
    }
    found = {
        "@timestamp": record.time,
        "ecs": {"version": VERSION},
        "message": _message(record),
        "event": {
            "kind": "event",
            "module": "keylease",
            "dataset": "keylease.audit",
            "provider": "keylease",
            "action": record.event,
            "category": list(kind.category),
            "type": list(kind.type),
            "outcome": _OUTCOMES.get(record.outcome, "unknown"),
            "reason": record.reason,
            "sequence": record.seq,
            "hash": digest,
        },
        "user": {"name": record.username},
        "process": {
            "pid": record.caller.get("pid"),
            "executable": record.caller.get("executable"),
            "parent": {"executable": record.caller.get("parent")},
        },
        **_target(record.target, own),
        "keylease": own,
    }
    return _without_nothing(found)


def unreadable(data: bytes, reason: str) -> dict[str, Any]:
    """Return a document about bytes in the log that are not a valid line.

    Args:
        data: The bytes.
        reason: Why they are not a line.
    """
    return {
        "ecs": {"version": VERSION},
        "message": reason,
        "event": {
            # ECS, event.kind: "pipeline_error" is for data that could not be ingested properly.
            "kind": "pipeline_error",
            "module": "keylease",
            "dataset": "keylease.audit",
            "provider": "keylease",
            "original": data.rstrip(b"\n").decode("ascii", "backslashreplace"),
        },
    }


def _target(target: Mapping[str, Any] | None, own: dict[str, Any]) -> dict[str, Any]:
    """Return the target as a URL and a destination; put the namespace into `own`."""
    if target is None:
        return {}
    own["target"] = {"namespace": target["namespace"]}
    host = str(target["host"])
    name, colon, port = host.rpartition(":")
    # An IPv6 address without a port keeps its brackets and colons.
    with_port = bool(colon) and re.fullmatch("[0-9]{1,5}", port) is not None
    return {
        "url": {
            "full": Target(**target).url,
            "scheme": target["protocol"],
            "domain": name if with_port else host,
            "port": int(port) if with_port else None,
            "path": None if target["path"] is None else f"/{target['path']}",
        },
        "destination": {"address": host},
    }


def _message(record: Record) -> str:
    """Return a summary of the line, for lists that show only this."""
    words = [record.event]
    if record.outcome == "refused":
        words.append("refused")
    if record.reason is not None:
        words.append(f"({record.reason})")
    target = name_of(record)
    if target is not None:
        words.append(f"for {target}")
    return " ".join(words)


def _without_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """Return the document without fields that have no value, and objects that have no field."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, str):
            found[key] = inner if inner.isascii() else _whole(inner)
        elif isinstance(inner, dict):
            if kept := _without_nothing(inner):
                found[key] = kept
        elif inner is not None and inner != []:
            found[key] = inner
    return found


def _whole(value: str) -> str:
    """Return text that every JSON parser accepts.

    In the log a lone surrogate stands for a byte that is not UTF-8. Strict parsers (Rust's, so
    Vector's) refuse a document with it, so it becomes an escape, as on a terminal.
    """
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
