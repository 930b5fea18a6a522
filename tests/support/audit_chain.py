"""Check an audit log as an auditor would, without keylease's code."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def raw_lines(state: Path) -> list[bytes]:
    """Return every line with its line end, ordered by number."""
    found = [
        line
        for path in (state / "audit").glob("*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
    ]
    return sorted(found, key=lambda line: int(json.loads(line)["seq"]))


def records(state: Path) -> list[dict[str, Any]]:
    """Return every record, ordered by number."""
    return [json.loads(line) for line in raw_lines(state)]


def verify(state: Path, key: bytes) -> int:
    """Check form, number, link and MAC of every line, and return the number of lines."""
    prev = "0" * 64
    lines = raw_lines(state)
    for number, line in enumerate(lines, 1):
        record = json.loads(line)
        covered = line[: line.rindex(b',"mac":')]
        _demand(line.endswith(b"}\n") and line[:-1].isascii(), number, "one line of ASCII")
        _demand(all(0x20 <= byte < 0x7F for byte in line[:-1]), number, "no control bytes")
        _demand(record["seq"] == number, number, "the number before it plus one")
        _demand(record["prev"] == prev, number, "the digest of the line before it")
        mac = hmac.digest(key, covered, "sha256").hex()
        _demand(record["mac"] in {None, mac}, number, "its MAC")
        prev = hashlib.sha256(line).hexdigest()
    return len(lines)


def _demand(holds: bool, number: int, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        msg = f"line {number} of the audit log does not have {rule}"
        raise AssertionError(msg)
