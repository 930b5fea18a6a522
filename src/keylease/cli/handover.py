"""Parse `--fd` and `--env`: which value of which session a command gets, and how.

Everything that needs no secret is checked before a session is asked.
"""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.cli import address, handout
from keylease.cli.base import see_help
from keylease.errors import KeyleaseError, UsageError
from keylease.session.select import Asked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import click

    from keylease.cli.address import Address
    from keylease.model import Reply
    from keylease.session.service import SessionService

# POSIX.1-2024, XBD 8.1: the names that a shell can use for variables.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOGGED: Final = "the release is in the audit log, but the command got nothing"


class Handover(NamedTuple):
    """One value of a credential, and how the command gets it."""

    way: Literal["env", "fd"]
    name: str
    """The environment variable."""
    field: str
    """`password`, `username`, or the name of an extra field."""
    address: Address
    """The session's target and user."""


def default(ctx: click.Context, url: str | None, username: str | None) -> Address | None:
    """Return the address of the URL before the options; a FIELD without a URL belongs to it.

    Raises:
        UsageError: the URL is not valid, or there is a user but no URL.
    """
    if url is not None:
        return address.read(url, username)
    if username is not None:
        msg = "--username needs a URL before --fd and --env"
        raise UsageError(msg, f"or write the user into the URL: https://USER@host; {see_help(ctx)}")
    return None


def handovers(
    ctx: click.Context, pipes: Sequence[str], variables: Sequence[str], default: Address | None
) -> list[Handover]:
    """Return the handovers that the options ask for.

    Raises:
        UsageError: there is none, or a name or URL is not valid.
    """
    found = [_handover("fd", each, default) for each in pipes]
    found += [_handover("env", each, default) for each in variables]
    if not found:
        msg = "found neither --fd nor --env, so the command would get no credential"
        raise UsageError(msg, f"say how to pass it: --fd NAME or --env NAME; {see_help(ctx)}")
    if pipes and sys.platform == "win32":
        msg = "--fd does not work on Windows, where descriptors are not inherited by number"
        raise UsageError(msg, "use --env")
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        msg = "two values have the same NAME"
        raise UsageError(msg, "give each --fd and --env its own NAME")
    if default is not None and default not in {each.address for each in found}:
        msg = "no --fd or --env uses the first URL"
        raise UsageError(msg, "leave it out, or give a --fd or --env without its own URL")
    return found


def _handover(way: Literal["env", "fd"], text: str, default: Address | None) -> Handover:
    name, equals, what = text.partition("=")
    # Do not repeat the text: a user who misreads the form may put the password there.
    if not _NAME.fullmatch(name):
        msg = f"--{way} has a NAME that is not valid for an environment variable"
        raise UsageError(msg, "expected letters, digits and underscores, and no digit first")
    field, wanted = what, default
    if "://" in what:
        url, mark, field = what.rpartition("#") if "#" in what else (what, "", "")
        wanted, equals = address.read(url), mark
    if equals and not handout.FIELD.fullmatch(field):
        msg = f"--{way} {name} does not have the name of a field"
        raise UsageError(msg, "expected password, username or the name of an extra field")
    if wanted is None:
        msg = f"--{way} {name} has no URL, and there is none before the options"
        raise UsageError(msg, f"give the URL: --{way} {name}=https://host")
    return Handover(way, name, field or handout.PASSWORD, wanted)


@contextmanager
def values(session: SessionService, handovers: Sequence[Handover]) -> Iterator[list[bytes]]:
    """Yield the value of each handover. Each session is used once.

    Pass the values on at once in the block: a command that ends the session waits for its end.

    Raises:
        KeyleaseError: a session or field does not exist, or a value contains a NUL.
    """
    replies: dict[Address, Reply] = {}
    with ExitStack() as gates:
        for each in handovers:
            if each.address not in replies:
                with address.exact_hint(each.address):
                    reply = session.release(Asked(*each.address))
                gates.callback(reply.wipe)
                replies[each.address] = reply
        values = _values(handovers, replies)
        for wanted, reply in replies.items():
            # Wipe now: execve(2) never leaves the block.
            reply.credential.wipe()
            with address.exact_hint(wanted):
                gates.enter_context(reply.gate)
        yield values


def _values(handovers: Sequence[Handover], replies: Mapping[Address, Reply]) -> list[bytes]:
    """Return the values as bytes: the system call takes no views."""
    values = [
        bytes(handout.value(replies[each.address].credential, each.field, LOGGED))
        for each in handovers
    ]
    for handover, value in zip(handovers, values, strict=True):
        if b"\0" in value:
            msg = f"the field {handover.field} contains a NUL, which cannot be passed on"
            raise KeyleaseError(msg, LOGGED)
    return values
