"""The records that `--undo` needs: `setup-TOOL.json` in the state directory, one for each tool.

A record is written before any change, so the undo is the same after a kill at any point. It holds
what setup wrote and where, never a secret and never a line of the user's. Older versions recorded
whole spans of the user's files; `rewrite` removes these.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Final

from keylease.cli import replacement
from keylease.cli.setup import patches
from keylease.errors import StateError
from keylease.statefile import Directory
from keylease.system.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keylease.cli.setup.base import Change

_NAME: Final = "setup-{}.json"
_NAMES: Final = re.compile(r"setup-([a-z]+)\.json")
_REPLACED, _FILES = "replaced", "files"
_MOST_BYTES: Final = 1 << 20
# A command without arguments, or Vault's line that names one. Arguments may be secret.
_COMMAND: Final = re.compile(
    r"[\w.:/~@+,-]*|[ \t]*token_helper[ \t]*=[ \t]*\"[\w.:/~@+,-]*\"[ \t]*"
)


def replaced(tool: str) -> dict[str, Any]:
    """Return the values that an earlier setup replaced; empty without a record.

    Raises:
        StateError: the record cannot be used.
    """
    found: dict[str, Any] = _record(tool).get(_REPLACED, {})
    return found


def keep(tool: str, new: Mapping[str, Any] | None, changes: Sequence[Change]) -> None:
    """Record what `--undo` needs, before any file is changed.

    Raises:
        StateError: the record cannot be written.
    """
    record = _lean(_record(tool))
    files = record.get(_FILES, {})
    for change in changes:
        earlier = patches.unpacked(files.get(change.path, []))
        after = patches.with_change(earlier, change.before, change.after, change.known)
        files[change.path] = patches.packed(after if change.exact else [patches.SPOILT])
    kept = record.get(_REPLACED, {}) if new is None else dict(new)
    _write(tool, {_REPLACED: kept, _FILES: files})


def exactly(tool: str, changes: Sequence[Change]) -> list[Change]:
    """Return the changes that restore each file as it was before setup, if the record knows how.

    Raises:
        StateError: the record cannot be used.
    """
    files = _lean(_record(tool)).get(_FILES, {}) if changes else {}
    exact = []
    for change in changes:
        found = patches.unpacked(files.get(change.path, []))
        fitting = patches.carried_out(change.before, found)
        # If the place was edited since, the tool's own undo counts.
        after = patches.taken_back(change.before, fitting) if fitting else change.after
        exact.append(change._replace(after=after))
    return exact


def forget(tool: str, paths: Sequence[str]) -> None:
    """Remove these files from the record, and the record itself if no file is left.

    Raises:
        StateError: the system refuses.
    """
    record = _record(tool)
    files = {file: kept for file, kept in record.get(_FILES, {}).items() if file not in paths}
    if files:
        _write(tool, {**record, _FILES: files})
    elif os.path.lexists(state_directory()):
        with Directory.open(state_directory()) as state:
            state.remove(_NAME.format(tool))


def tools() -> list[str]:
    """Return the tools that have a record.

    Raises:
        StateError: the state directory cannot be used.
    """
    if not os.path.lexists(state_directory()):
        return []
    with Directory.open(state_directory()) as state:
        found = [_NAMES.fullmatch(name) for name in state.names()]
    return sorted(each[1] for each in found if each)


def path(tool: str) -> str:
    """Return the path of a tool's record."""
    return os.path.join(state_directory(), _NAME.format(tool))


def is_lean(tool: str) -> bool:
    """Return whether the record holds only what setup wrote.

    Raises:
        StateError: the record cannot be used.
    """
    record = _record(tool)
    return record == _lean(record)


def rewrite(tool: str) -> bool:
    """Remove the user's text from the record, and return whether there was any.

    Raises:
        StateError: the record cannot be used or written.
    """
    record = _record(tool)
    lean = _lean(record)
    if record == lean:
        return False
    _write(tool, lean)
    return True


def contents(tool: str) -> Iterator[bytes]:
    """Yield what the record holds: its texts, and its base64 values decoded.

    Raises:
        StateError: the record cannot be used.
    """
    record = _record(tool)
    yield json.dumps(record.get(_REPLACED, {})).encode("ascii")
    for packed in record.get(_FILES, {}).values():
        for _, new, old in patches.unpacked(packed):
            yield new
            yield old or b""


def abandoned(tool: str) -> list[str]:
    """Return the temporaries that a killed setup left beside the tool's files.

    Raises:
        StateError: the record cannot be used.
    """
    return [each for file in _record(tool).get(_FILES, {}) for each in _unfinished(file)]


def sweep(tool: str) -> int:
    """Remove the temporaries that a killed setup left, and return their number.

    Raises:
        StateError: the record cannot be used, or the system refuses.
    """
    swept = 0
    for file in _record(tool).get(_FILES, {}):
        try:
            swept += replacement.sweep(os.path.realpath(file))
        except OSError as error:
            msg = f"a temporary beside {file} cannot be removed: {error.strerror}"
            raise StateError(msg, "remove it yourself: its name ends in .keylease") from error
    return swept


def _unfinished(file: str) -> list[str]:
    try:
        return replacement.abandoned(os.path.realpath(file))
    except OSError as error:
        msg = f"the directory of {file} cannot be listed: {error.strerror}"
        raise StateError(msg, "look there for names that end in .keylease") from error


def _record(tool: str) -> dict[str, Any]:
    if not os.path.lexists(state_directory()):
        return {}
    name = _NAME.format(tool)
    with Directory.open(state_directory()) as state:
        packed = state.read(name, _MOST_BYTES)
    try:
        found = json.loads(packed or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        msg = f"{name} is not a valid record of a setup"
        raise StateError(msg, "delete it, and undo the setup by hand")
    return found


def _write(tool: str, record: Mapping[str, Any]) -> None:
    with Directory.open(state_directory(), create=True) as state:
        state.replace(_NAME.format(tool), json.dumps(record).encode("ascii"))


def _lean(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record without the user's text: lines between edits, arguments of commands."""
    kept = {key: _harmless(value) for key, value in record.get(_REPLACED, {}).items()}
    kept = {key: value for key, value in kept.items() if value is not ...}
    known = [each.encode() for each in _texts(kept)]
    files = {
        file: patches.packed(patches.lean(patches.unpacked(packed), known))
        for file, packed in record.get(_FILES, {}).items()
    }
    parts = {_REPLACED: kept, _FILES: files}
    return {key: parts.get(key, value) for key, value in record.items()}


def _harmless(value: object) -> object:
    """Return the value without parts that may be secret; `...` if no part is left."""
    if isinstance(value, dict):
        inner = {key: _harmless(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not ...}
    return value if all(_COMMAND.fullmatch(each) for each in _texts(value)) else ...


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
