"""`keylease setup cargo`: write one line into cargo's configuration, and keep everything else.

cargo asks the providers in `registry.global-credential-providers`, the last one first (The Cargo
Book, "Registry Authentication"). If `cargo:token` is one of them, cargo writes a token in plaintext
when another provider refuses it. So the line names keylease's provider alone.

Comments, order and quotes of the TOML file stay, because setup edits the text. It then parses the
new text: only this one key may differ from the old meaning.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.setup import programs
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    difference,
    named,
    read,
    setup_command,
)
from keylease.cli.setup.kept import commented, restored
from keylease.cli.setup.records import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOL: Final = tools.named("cargo")
PROVIDER: Final = "cargo-credential-keylease"
_TABLE, _KEY = "registry", "global-credential-providers"
_HEADER: Final = re.compile(r"[ \t]*\[[ \t]*registry[ \t]*\][ \t]*(#.*)?")
_LINE: Final = re.compile(r"[ \t]*(registry[ \t]*\.[ \t]*)?global-credential-providers[ \t]*=")


@setup_command
def cargo(dry_run: bool, undo: bool) -> None:
    """Let cargo keep the tokens of registries in sessions.

    It sets one key in the configuration of your cargo home:

    \b
        [registry]
        global-credential-providers = ["/usr/bin/cargo-credential-keylease"]

    Everything else in the file stays. From then on cargo neither writes tokens to credentials.toml
    nor reads them from there: log in to each registry again with cargo login. A registry with its
    own credential-provider keeps asking that one. A line that was there before becomes a comment
    until --undo.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    carry_out("cargo", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if not undo:
        _warn()


def plan() -> Plan:
    """Return the changes that setup has to make.

    Raises:
        SetupError: cargo's configuration cannot be read.
    """
    before, document = _document()
    old, new = document.get(_TABLE, {}).get(_KEY), [_provider()]
    if old == new:
        return Plan((Change(_path(), before, before, ()),))
    return Plan((_change(before, document, new, undo=False),))


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    _, document = _document()
    found = document.get(_TABLE, {}).get(_KEY)
    return [each for each in found if _is_ours(each)] if isinstance(found, list) else []


def _undoing() -> Plan:
    before, document = _document()
    old = document.get(_TABLE, {}).get(_KEY)
    if not isinstance(old, list) or len(old) != 1 or not _is_ours(old[0]):
        return Plan((Change(_path(), before, before, ()),))
    # Older versions kept the replaced line in the record, not in the file.
    return Plan((_change(before, document, replaced("cargo").get(_KEY), undo=True),))


def _is_ours(provider: object) -> bool:
    return isinstance(provider, str) and os.path.basename(provider) == PROVIDER


def _provider() -> str:
    """Return the provider as cargo calls it. cargo splits it at blanks."""
    found = programs.named(PROVIDER)
    return found if not re.search(r"\s", found) else PROVIDER


def _change(
    before: bytes | None, document: dict[str, Any], providers: list[str] | None, *, undo: bool
) -> Change:
    """Return the change to these providers; `None` removes ours."""
    old = document.get(_TABLE, {}).get(_KEY)
    for text in _edited((before or b"").decode("utf-8"), providers, undo=undo):
        meaning = _meaning(text)
        if meaning is None or _without_key(meaning) != _without_key(document):
            continue
        found = meaning.get(_TABLE, {}).get(_KEY)
        if found == old or (providers is not None and found != providers):
            continue
        shown = difference(f"{_KEY} = ", _shown(old), _shown(found))
        after = text.encode("utf-8") if text.strip() else None
        return Change(_path(), before, after, tuple(shown), 0o644)
    msg = f"{_path()} writes the table {_TABLE} in a way that cannot be edited"
    hint = f'write this by hand: {_TABLE}.{_KEY} = ["{PROVIDER}"]'
    raise SetupError(msg, hint)


def _without_key(document: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration without our key, and without the table if that is empty then."""
    table = {key: value for key, value in document.get(_TABLE, {}).items() if key != _KEY}
    rest = {key: value for key, value in document.items() if key != _TABLE}
    return {**rest, _TABLE: table} if table else rest


def _shown(providers: object) -> str | None:
    if providers is None:
        return None
    # A provider can have arguments; cargo:token-from-stdout has a whole command.
    known = [named(str(each)) for each in providers] if isinstance(providers, list) else []
    return json.dumps(known)


def _edited(text: str, providers: list[str] | None, *, undo: bool) -> Iterator[str]:
    """Yield possible edits of the text. The caller parses each and chooses the correct one."""
    lines = text.splitlines(keepends=True)
    # TOML writes a list of strings as JSON does.
    entry = [] if providers is None else [f"{_KEY} = {json.dumps(providers)}\n"]
    for start, line in enumerate(lines):
        if found := _LINE.match(line):
            dotted = [f"{_TABLE}.{each}" for each in entry] if found[1] else entry
            for end in range(start + 1, len(lines) + 1):
                # The user's line stays as a comment until the undo.
                removed = undo or PROVIDER in "".join(lines[start:end])
                kept = [] if removed else [commented(each) for each in lines[start:end]]
                rest = [restored(each) for each in lines[end:]] if undo else lines[end:]
                without_header = start and _HEADER.fullmatch(lines[start - 1].rstrip("\r\n"))
                if not entry and without_header:
                    yield "".join([*lines[: start - 1], *rest]).removesuffix("\n") + "\n"
                yield "".join([*lines[:start], *dotted, *kept, *rest])
    for at, line in enumerate(lines):
        if _HEADER.fullmatch(line.rstrip("\r\n")):
            ended = line if line.endswith("\n") else line + "\n"
            yield "".join([*lines[:at], ended, *entry, *lines[at + 1 :]])
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    yield "".join([text, gap, f"[{_TABLE}]\n", *entry])


def _document() -> tuple[bytes | None, dict[str, Any]]:
    """Return the configuration, as bytes and parsed."""
    before, path = read(_path()), _path()
    document = None
    with suppress(UnicodeDecodeError):
        document = _meaning((before or b"").decode("utf-8"))
    if document is None or not isinstance(document.get(_TABLE, {}), dict):
        msg = f"{path} is not a valid configuration of cargo"
        raise SetupError(msg, "cargo cannot read it either; repair it first")
    return before, document


def _meaning(text: str) -> dict[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _warn() -> None:
    _, document = _document()
    registries = document.get("registries", {})
    own = [
        name
        for name, entry in (registries.items() if isinstance(registries, dict) else ())
        if isinstance(entry, dict) and "credential-provider" in entry
    ]
    if own:
        msg = f"these registries have their own provider: {', '.join(sorted(own))}"
        warn(msg, "remove their credential-provider lines to let cargo ask keylease for them")
    for place in TOOL.plaintext:
        path = location.path(place.location)
        if os.path.lexists(path):
            hint = "log in again with cargo login, then delete it and change the tokens"
            warn(f"{path} may hold tokens in plaintext, and cargo no longer reads it", hint)


def _path() -> str:
    # The Cargo Book, "Configuration": if both exist, the one without an extension counts.
    older, newer = map(location.path, TOOL.configuration)
    return older if os.path.lexists(older) else newer
