"""What `keylease login` asks for each tool, and what it makes of the answers.

A tool's secret has a name of its own, some have more than one, and not all have a user name. None
of them ever comes from the command line. The rows of `keylease.tools` say what is asked for.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.cli import address
from keylease.errors import UsageError
from keylease.model import Credential
from keylease.protocols import git
from keylease.secrets.memory import allocate, secure_clear
from keylease.secrets.secret import Secret
from keylease.system import terminal
from keylease.tools import named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keylease.cli.address import Address
    from keylease.tools import Form

LONGEST_SECRET: Final = git.MAX_LINE - len("password=\n")
"""Bytes; git reads an answer line by line, and a line is no longer than that."""
_ONE_LINE: Final = re.compile(rb"[^\n]*\n")
# IAM User Guide, "Reference identifiers": a key whose id begins so is temporary, and of no use
# without its session token.
_TEMPORARY: Final = "ASIA"


class Given(NamedTuple):
    """What the command line says of a login, and where its secrets are. None of them is in it."""

    tool: str | None
    password_stdin: bool = False
    fields: tuple[str, ...] = ()
    """The extra secrets that are asked for on the terminal."""
    files: tuple[tuple[str, str], ...] = ()
    """The secrets that are in files: name and path."""


def ask(wanted: Address, given: Given) -> tuple[Address, Credential]:
    """Return the address with its user name, and the credential.

    Raises:
        UsageError: there is nobody to ask, or what was given cannot be one.
    """
    form = named(given.tool or "git").login
    _check(form, wanted, [*given.fields, *(name for name, _ in given.files)], given)
    if wanted.username is None and form.username is not None:
        typed = terminal.ask(f"{form.username} for {wanted}: ")
        wanted = wanted._replace(username=address.name(str(typed, "utf-8", "surrogateescape")))
    secrets: dict[str | None, Secret] = {}
    try:
        for name, secret in _secrets(form, wanted, given):
            secrets[name] = secret
            _judge(secret, (name or form.secret).lower(), lines=name in {"certificate", "key"})
    except BaseException:
        for secret in secrets.values():
            secret.wipe()
        raise
    secret = secrets.pop(form.instead if form.instead in secrets else None)
    fields = tuple((name, value) for name, value in secrets.items() if name is not None)
    return wanted, Credential(wanted.username, secret, fields=fields)


def _check(form: Form, wanted: Address, named: Sequence[str], given: Given) -> None:
    """Refuse what the tool has no use for, before anybody is asked for a secret."""
    known = [*form.fields, *([form.instead] if form.instead else [])]
    for name in named:
        if name not in known or named.count(name) > 1:
            expected = f"one of {', '.join(known)}" if known else "none"
            msg = f"the field {name!a} is unknown or named twice: expected {expected}"
            raise UsageError(msg)
    if form.username is None and wanted.username is not None:
        msg = f"a session for {given.tool} has no user name"
        raise UsageError(msg, "leave --username out")
    if form.instead and len(named) not in {0, len(known)}:
        msg = f"{' and '.join(known)} belong together"
        raise UsageError(msg, "give both with --field-file")
    if form.instead in named and given.password_stdin:
        msg = f"there is a {form.instead} in the place of the {form.secret.lower()}"
        raise UsageError(msg, "leave --password-stdin out")


def _secrets(form: Form, wanted: Address, given: Given) -> Iterator[tuple[str | None, Secret]]:
    """Read or ask for one secret after the other; `None` is the name of the one that all have."""
    files, fields = dict(given.files), [*given.fields]
    temporary = given.tool == "aws" and (wanted.username or "").startswith(_TEMPORARY)
    if temporary and "session_token" not in {*files, *fields}:
        fields.append("session_token")
    for name, path in files.items():
        yield name, _read_file(name, path)
    if form.instead is None or form.instead not in {*files, *fields}:
        if given.password_stdin:
            yield None, terminal.read_secret(LONGEST_SECRET)
        else:
            yield None, terminal.ask_secret(f"{form.secret} for {wanted}: ")
    for name in fields:
        spoken = name.replace("_", " ").capitalize()
        yield name, terminal.ask_secret(f"{spoken} for {wanted}: ")


def _judge(secret: Secret, what: str, *, lines: bool) -> None:
    if not secret:
        msg = f"the {what.replace('_', ' ')} is empty"
        raise UsageError(msg, "nothing was changed; try again")
    if not lines and not git.BREAKING.isdisjoint(secret.reveal()):
        msg = f"the {what.replace('_', ' ')} has a line break or NUL inside"
        hint = "no tool can be told that; give it alone, with one line end after it at most"
        raise UsageError(msg, hint)


def _read_file(name: str, path: str) -> Secret:
    """Return a file's bytes, as they are but for the line end after the last one of a single line.

    Raises:
        UsageError: it is no regular file, too long, or cannot be read.
    """
    buffer = allocate(LONGEST_SECRET + 1)
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb", buffering=0) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            length = file.readinto(buffer) if regular else 0
        if not regular:
            msg = f"the file for {name} is no regular file"
            raise UsageError(msg, "to have the secret asked for, use --field")
        if length > LONGEST_SECRET:
            msg = f"the file for {name} is longer than {LONGEST_SECRET} bytes"
            raise UsageError(msg)
        if _ONE_LINE.fullmatch(buffer, 0, length):
            length -= 1
        return Secret(buffer[:length])
    except OSError as error:
        msg = f"the file for {name} cannot be read: {error.strerror}"
        raise UsageError(msg) from None
    finally:
        secure_clear(buffer)
