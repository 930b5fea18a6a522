"""`keylease setup aws`: write one line into each profile that uses a session.

AWS programs run the `credential_process` of a profile in `~/.aws/config`. They use it last: a key
of the same profile in `~/.aws/credentials` counts first, so setup warns of it.

The file is read by Python's configparser, as botocore reads it. It is edited line by line, so that
comments and order stay.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from typing import TYPE_CHECKING, Final

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import warn
from keylease.cli.executable import find
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    difference,
    named,
    read,
    setup_command,
    undo_alone,
)
from keylease.cli.setup.kept import commented, restored
from keylease.cli.setup.records import replaced
from keylease.protocols.aws import target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOOL: Final = tools.named("aws")
_CONFIG, _CREDENTIALS = TOOL.configuration
_KEY: Final = "credential_process"
_SECTION: Final = re.compile(r"[ \t]*\[([^]]*)\]")
_ENTRY: Final = re.compile(r"credential_process[ \t]*=[ \t]*(.*)")
_WRITTEN: Final = re.compile(r"(?:\S*/)?keylease-aws \S+")


@setup_command
@click.argument("profiles", metavar="[PROFILE]...", nargs=-1)
def aws(profiles: tuple[str, ...], dry_run: bool, undo: bool) -> None:
    """Let AWS programs take their keys from sessions.

    It sets one key in each PROFILE of your AWS configuration (without PROFILE in the profile
    default). A profile that does not exist is made:

    \b
        [profile prod]
        credential_process = /usr/bin/keylease-aws prod

    Everything else in the file stays. AWS programs cannot start a session: start it with keylease
    login --tool aws PROFILE. A key of the profile in the file of credentials counts first. A line
    that was there before becomes a comment until --undo.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    if undo:
        undo_alone(profiles)
    profiles = profiles or ("default",)
    for profile in profiles:
        target(profile)
    carry_out("aws", _undoing() if undo else _plan(profiles), dry_run=dry_run, undo=undo)
    if not undo:
        _warn(profiles)


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    path = location.path(_CONFIG)
    values = [each.get(_KEY) for each in _parsed(_text(read(path), path), path).values()]
    return [each.split()[0] for each in values if each is not None and _is_ours(each)]


def _plan(profiles: Sequence[str]) -> Plan:
    """Return the changes that setup has to make."""
    sections = [each if each == "default" else f"profile {each}" for each in profiles]
    values = {
        section: f"{_program()} {each}" for section, each in zip(sections, profiles, strict=True)
    }
    return _setting(values, undo=False)


def _undoing() -> Plan:
    """Return the changes that take back everything that this command wrote."""
    path = location.path(_CONFIG)
    kept = replaced("aws")
    held = _parsed(_text(read(path), path), path)
    ours = [name for name, entries in held.items() if _is_ours(entries.get(_KEY))]
    return _setting({section: kept.get(section) for section in ours}, undo=True)


def _setting(values: Mapping[str, str | None], *, undo: bool) -> Plan:
    path = location.path(_CONFIG)
    before = read(path)
    text, shown = _text(before, path), []
    for section, new in values.items():
        old = _parsed(text, path).get(section, {}).get(_KEY)
        if not undo and old == new:
            continue
        text = _edited(text, section, new, undo=undo)
        found = _parsed(text, path).get(section, {}).get(_KEY)
        if _is_ours(found) if undo else found != new:
            msg = f"{path} writes the section {section} in a way that cannot be edited"
            raise SetupError(msg, f"write it by hand: {_KEY} = {new or ''}".rstrip())
        shown += difference(f"{section}: {_KEY} = ", _shown(old), _shown(found))
    after = text.encode("utf-8") if text.strip() else None
    return Plan((Change(path, before, after if shown else before, tuple(shown)),))


def _is_ours(value: str | None) -> bool:
    return value is not None and _WRITTEN.fullmatch(value) is not None


def _shown(value: str | None) -> str | None:
    return named(value) if value and not _is_ours(value) else value or None


def _edited(text: str, section: str, value: str | None, *, undo: bool) -> str:
    """Return the text with this value, or without one, in the section."""
    entry = [] if value is None else [f"{_KEY} = {value}\n"]
    lines = [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []
    headers = [(at, found[1]) for at, line in enumerate(lines) if (found := _SECTION.match(line))]
    start = next((at for at, name in headers if _is(name, section)), None)
    if start is None:
        return "".join([*lines, *(["\n"] if lines else []), f"[{section}]\n", *entry])
    end = next((at for at, _ in headers if at > start), len(lines))
    body = _body(lines[start + 1 : end], entry, undo=undo)
    if not "".join(body).strip():
        # An empty section is removed, with the blank line before it.
        before = lines[:start]
        return "".join(
            [*before[: -1 if before and not before[-1].strip() else None], *body, *lines[end:]]
        )
    return "".join([*lines[: start + 1], *body, *lines[end:]])


def _body(lines: Sequence[str], entry: Sequence[str], *, undo: bool) -> list[str]:
    """Return the lines of a section with this entry. Other entries are comments until the undo."""
    at = next((at for at, line in enumerate(lines) if _ENTRY.match(line)), 0)
    body = []
    for line in lines:
        found = _ENTRY.match(line)
        if found is None:
            back = restored(line)
            body.append(back if undo and _ENTRY.match(back) else line)
        elif not _is_ours(found[1].strip()):
            body.append(line if undo else commented(line))
    return [*body[:at], *entry, *body[at:]]


def _is(header: str, section: str) -> bool:
    """Return whether a header names the section. botocore splits the header as a shell does."""
    try:
        return shlex.split(header) == section.split(" ")
    except ValueError:
        return False


def _parsed(text: str, path: str) -> Mapping[str, Mapping[str, str]]:
    """Return the entries of each section. Its name has one blank between two words."""
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(text)
    except configparser.Error:
        msg = f"{path} is not a valid AWS configuration"
        # `from None`: the error repeats text of the file.
        raise SetupError(msg, "AWS programs cannot read it either; repair it first") from None
    names = {
        each: " ".join(each.replace('"', "").replace("'", "").split()) for each in parser.sections()
    }
    return {name: dict(parser[each]) for each, name in names.items()}


def _text(data: bytes | None, path: str) -> str:
    try:
        return (data or b"").decode("utf-8")
    except UnicodeDecodeError:
        msg = f"{path} is not UTF-8"
        raise SetupError(msg) from None


def _program() -> str:
    """Return the program as the configuration names it. AWS programs use no shell."""
    found = os.path.abspath(find(TOOL.program))
    # A blank would need quotes, and AWS programs do not agree on their meaning.
    return found if not re.search(r"[\s\"'\\]", found) else TOOL.program


def _warn(profiles: Sequence[str]) -> None:
    path = location.path(_CREDENTIALS)
    held = _parsed(_text(read(path), path), path)
    for profile in profiles:
        if "aws_secret_access_key" in held.get(profile, {}):
            hint = f"take it out; then: keylease login --tool aws {profile}"
            warn(
                f"{path} holds a key of the profile {profile} in plaintext, which comes first", hint
            )
    if os.environ.get("AWS_SECRET_ACCESS_KEY"):
        warn("AWS_SECRET_ACCESS_KEY is set, so AWS programs do not ask keylease", "unset it")
