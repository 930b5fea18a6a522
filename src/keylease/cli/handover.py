"""What a command is handed over, and from which session: the words of `--fd` and `--env`.

What can be refused without a secret is refused before any session is asked.
"""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from keylease.cli import address, handout
from keylease.cli.base import see_help
from keylease.errors import KeyleaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import click

    from keylease.cli.address import Address
    from keylease.model import Reply
    from keylease.session.service import SessionService

# POSIX.1-2024, XBD 8.1: what a shell can have as a variable. Others reach no script.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The session is opened by then, and used.
LOGGED: Final = "the release is in the audit log, and the command had nothing"


class Handover(NamedTuple):
    """One value of the credential, and where the command finds it."""

    way: Literal["env", "fd"]
    name: str
    """The environment variable."""
    field: str
    """`password`, `username`, or the name of an extra field."""
    address: Address
    """Of which session."""


def default(ctx: click.Context, url: str | None, username: str | None) -> Address | None:
    """Return what the URL before the options names, from which a bare FIELD is taken.

    Raises:
        UsageError: it makes no sense, or only a user is named.
    """
    if url is not None:
        return address.read(url, username)
    if username is not None:
        msg = "--username goes with a URL before it"
        raise UsageError(msg, f"write it into the other one, https://USER@host; {see_help(ctx)}")
    return None


def handovers(
    ctx: click.Context, pipes: Sequence[str], variables: Sequence[str], default: Address | None
) -> list[Handover]:
    """Return what is to be handed over, and how.

    Raises:
        UsageError: nothing is, or a name makes no sense.
    """
    found = [_handover("fd", each, default) for each in pipes]
    found += [_handover("env", each, default) for each in variables]
    if not found:
        msg = "it is not said how the command gets the credential"
        raise UsageError(msg, f"give --fd NAME or --env NAME; {see_help(ctx)}")
    if pipes and sys.platform == "win32":
        msg = "--fd is not on Windows, where no descriptor is inherited by its number"
        raise UsageError(msg, "use --env")
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        msg = "two values would go under one name"
        raise UsageError(msg, "give each --fd and --env a name of its own")
    if default is not None and default not in {each.address for each in found}:
        msg = "nothing is taken from the session for the first URL"
        raise UsageError(msg, "leave it out, or name a --fd or --env without a URL of its own")
    return found


def _handover(way: Literal["env", "fd"], text: str, default: Address | None) -> Handover:
    name, equals, what = text.partition("=")
    # The text is not repeated: who misreads the form puts the password itself there.
    if not _NAME.fullmatch(name):
        msg = f"--{way} has a name that no environment variable can have"
        raise UsageError(msg, "expected letters, digits and underscores, and no digit first")
    field, wanted = what, default
    if "://" in what:
        url, mark, field = what.rpartition("#") if "#" in what else (what, "", "")
        wanted, equals = address.read(url), mark
    if equals and not handout.FIELD.fullmatch(field):
        msg = f"--{way} {name} has something that names no field"
        raise UsageError(msg, "expected password, username or the name of a field")
    if wanted is None:
        msg = f"--{way} {name} is from no session"
        raise UsageError(msg, f"name its URL: --{way} {name}=https://host")
    return Handover(way, name, field or handout.PASSWORD, wanted)


@contextmanager
def values(session: SessionService, handovers: Sequence[Handover]) -> Iterator[list[bytes]]:
    """Yield the value of each handover; every session is used once.

    In the block they are handed over at once: those who end a session wait for it.

    Raises:
        KeyleaseError: there is none, or no program could be told it.
    """
    replies: dict[Address, Reply] = {}
    with ExitStack() as gates:
        for each in handovers:
            if each.address not in replies:
                with address.exact_hint(each.address):
                    reply = session.release(*each.address)
                gates.callback(reply.wipe)
                replies[each.address] = reply
        values = _values(handovers, replies)
        for wanted, reply in replies.items():
            # What becomes another program leaves no block.
            reply.credential.wipe()
            with address.exact_hint(wanted):
                gates.enter_context(reply.gate)
        yield values


def _values(handovers: Sequence[Handover], replies: Mapping[Address, Reply]) -> list[bytes]:
    """Return the values as bytes, which the system takes: it takes no view of what is wiped."""
    values = [
        bytes(handout.value(replies[each.address].credential, each.field, LOGGED))
        for each in handovers
    ]
    for handover, value in zip(handovers, values, strict=True):
        if b"\0" in value:
            msg = (
                f"the field {handover.field} has a NUL inside,"
                " which no environment variable can have"
            )
            raise KeyleaseError(msg, LOGGED)
    return values
