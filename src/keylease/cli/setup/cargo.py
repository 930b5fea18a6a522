"""`keylease setup cargo`: one line of cargo's configuration, and everything else as it is.

cargo asks the providers in `registry.global-credential-providers`, the last one first (The Cargo
Book, "Registry Authentication"). While `cargo:token` is one of them, cargo writes tokens in plain
text where another provider will not have them, so the line has keylease's alone.

A TOML file belongs to its reader: comments, order and quotes stay. So the text is edited, and then
read again: what it means must be what it meant, but for this one key.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Command, Program, warn
from keylease.cli.setup import programs
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    dry_run_option,
    named,
    read,
    undo_option,
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


@click.command(cls=Command)
@dry_run_option
@undo_option
@click.pass_obj
def cargo(_: Program, dry_run: bool, undo: bool) -> None:
    """Let cargo keep the tokens of registries in sessions.

    It sets one key in the configuration of your cargo home:

    \b
        [registry]
        global-credential-providers = ["/usr/bin/cargo-credential-keylease"]

    Everything else in the file stays. From then on cargo neither writes tokens to credentials.toml
    nor reads those that are there: log in to each registry again with cargo login. A registry that
    has a credential-provider of its own goes on asking that. A line that was there before becomes a
    comment until --undo.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    carry_out("cargo", _undoing() if undo else plan(), dry_run=dry_run, undo=undo)
    if not undo:
        _warn()


def plan() -> Plan:
    """Return what has to be changed.

    Raises:
        SetupError: cargo's configuration cannot be read.
    """
    before, document = _document()
    old, new = document.get(_TABLE, {}).get(_KEY), [_provider()]
    if old == new:
        return Plan((Change(_path(), before, before, ()),))
    return Plan((_change(before, document, new, undo=False),))


def helpers() -> list[str]:
    """Return the programs that the configuration names for it, of keylease's; none if it does not.

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
    # Older versions kept the replaced line in the record, and not in the file.
    return Plan((_change(before, document, replaced("cargo").get(_KEY), undo=True),))


def _is_ours(provider: object) -> bool:
    return isinstance(provider, str) and os.path.basename(provider) == PROVIDER


def _provider() -> str:
    """Return what cargo is to call. It splits a provider at blanks."""
    found = programs.named(PROVIDER)
    return found if not re.search(r"\s", found) else PROVIDER


def _change(
    before: bytes | None, document: dict[str, Any], providers: list[str] | None, *, undo: bool
) -> Change:
    """Return the file with these providers; with none, without ours."""
    old = document.get(_TABLE, {}).get(_KEY)
    for text in _edited((before or b"").decode("utf-8"), providers, undo=undo):
        meaning = _meaning(text)
        if meaning is None or _without_key(meaning) != _without_key(document):
            continue
        found = meaning.get(_TABLE, {}).get(_KEY)
        if found == old or (providers is not None and found != providers):
            continue
        # A list of strings is written in TOML as it is in JSON.
        shown = [
            f"{sign} {_KEY} = {_shown(each)}"
            for sign, each in (("-", old), ("+", found))
            if each is not None
        ]
        after = text.encode("utf-8") if text.strip() else None
        return Change(_path(), before, after, tuple(shown), 0o644)
    msg = f"{_path()} writes the table {_TABLE} in a way that cannot be edited"
    hint = f'write it by hand: {_TABLE}.{_KEY} = ["{PROVIDER}"]'
    raise SetupError(msg, hint)


def _without_key(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the configuration says apart from our key. An empty table says nothing."""
    table = {key: value for key, value in document.get(_TABLE, {}).items() if key != _KEY}
    rest = {key: value for key, value in document.items() if key != _TABLE}
    return {**rest, _TABLE: table} if table else rest


def _shown(providers: object) -> str:
    # A provider has arguments; cargo:token-from-stdout has a whole command.
    known = [named(str(each)) for each in providers] if isinstance(providers, list) else []
    return json.dumps(known)


def _edited(text: str, providers: list[str] | None, *, undo: bool) -> Iterator[str]:
    """Yield the ways in which the text could be edited. The caller chooses by what they mean."""
    lines = text.splitlines(keepends=True)
    entry = [] if providers is None else [f"{_KEY} = {json.dumps(providers)}\n"]
    for start, line in enumerate(lines):
        if found := _LINE.match(line):
            dotted = [f"{_TABLE}.{each}" for each in entry] if found[1] else entry
            for end in range(start + 1, len(lines) + 1):
                # What is not ours stays as a comment until the undo.
                gone = "".join(lines[start:end])
                mine = undo or PROVIDER in gone
                kept = [] if mine else [commented(each) for each in lines[start:end]]
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
    """Return the configuration, as it is and as it is understood."""
    before, path = read(_path()), _path()
    document = None
    with suppress(UnicodeDecodeError):
        document = _meaning((before or b"").decode("utf-8"))
    if document is None or not isinstance(document.get(_TABLE, {}), dict):
        msg = f"{path} is no configuration of cargo's"
        # Not from the error: it may repeat the text.
        raise SetupError(msg, "cargo cannot read it either; mend it first")
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
        msg = f"a provider of their own have: {', '.join(sorted(own))}"
        warn(msg, "these registries do not ask keylease; take the line away to change that")
    # The Cargo Book, "Configuration": the file without an extension is the older name.
    for name in ("credentials.toml", "credentials"):
        path = os.path.join(_home(), name)
        if os.path.lexists(path):
            hint = "log in again with cargo login, then delete it and change the tokens"
            warn(f"{path} may hold tokens in plaintext, which cargo does not read any more", hint)


def _path() -> str:
    # The Cargo Book, "Configuration": where both are there, the one without an extension counts.
    older, newer = map(location.path, TOOL.configuration)
    return older if os.path.lexists(older) else newer


def _home() -> str:
    return os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
