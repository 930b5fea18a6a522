"""Records of an audit log, without a log."""

from __future__ import annotations

from typing import Any

from keylease.audit.line import Record

HOST = {"namespace": "web", "protocol": "https", "host": "git.example", "path": None}
CALLER = {"pid": 7, "executable": "/usr/bin/git", "parent": "/usr/bin/bash", "terminal": None}


def record(event: str = "session.released", seq: int = 1, **changes: Any) -> Record:
    """Return a record; without changes it is a release for `https://git.example`."""
    host = changes.pop("host", None)
    target = HOST if host is None else HOST | {"host": host}
    return Record(
        seq,
        "2026-11-22T09:30:00.000000Z",
        seq * 1_000_000_000,
        event,
        "ok",
        None,
        "0123456789abcdef0123456789abcdef",
        target,
        "ada",
        CALLER,
        {},
        "00" * 8,
        "00" * 32,
        "11" * 32,
    )._replace(**changes)


def at(time: str, day: str = "2026-11-22") -> str:
    """Return a time of a day in the form of a line."""
    return f"{day}T{time}.000000Z"
