"""From what a person types to what a tool asks for: a URL and a user name.

A URL is taken apart by the very code that reads git's messages, so a session is made, found and
ended under exactly the names that git will ask with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.errors import RequestError, UsageError
from keylease.protocols import git
from keylease.protocols.base import Call
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from keylease.model import Target

_EXAMPLE: Final = "write it as git takes it: https://git.example"


class Address(NamedTuple):
    """What a session is for, and whose it is.

    It is the arguments that most operations begin with: `sessions.get(*address)`.

    New in version 0.1.0.
    """

    target: Target
    username: str | None
    """`None` if none is named. Empty is a name too."""

    def __str__(self) -> str:
        """Return it as people say it. The names in it are as they came, not escaped."""
        return describe(self.target, self.username)


def describe(target: Target, username: str | None) -> str:
    """Return what a session is for and whose it is, as people say it."""
    if username is None:
        return target.url
    return f"{target.url} as {username or 'the empty user name'}"


def login_command(wanted: Address, url: str | None = None, tool: str | None = None) -> str:
    """Return what to type into a shell to start such a session.

    Args:
        wanted: What the session is for.
        url: What the tool knows the session by; that of the target if not given.
        tool: Whose session it is, where it is not git's.
    """
    from shlex import quote

    words = ["keylease", "login"]
    words += [] if tool is None else ["--tool", tool]
    words += [wanted.target.url if tool is None or url is None else url]
    words += [] if wanted.username is None else ["--username", wanted.username]
    return " ".join(map(quote, words))


def parse_url(url: str, username: str | None = None) -> Address:
    """Return what a URL names, exactly as git would ask for it.

    Args:
        url: As git would be given it. A user in it is taken, a password is refused.
        username: Whose session, where the URL names nobody; anybody's if not given.

    Raises:
        UsageError: the URL or the name makes no sense. The message never repeats the URL, for it
            may have a password in it.

    New in version 0.1.0.
    """
    message = bytearray(b"url=" + _checked("URL", url) + b"\n\n")
    try:
        # Of the three operations, `erase` is the one that tells of a password in the URL whatever
        # else is there, and takes it for nothing but a value to compare with.
        request = git.parse(Call(("erase",), {}, message))
    except RequestError as error:
        msg = f"git could not ask for such a URL: {error}"
        raise UsageError(msg, _EXAMPLE) from None
    finally:
        secure_clear(message)
    if request.credential is not None or request.target is None:
        request.wipe()
        msg = "the URL has a password in it"
        hint = "leave it out, others can see it on a command line; login asks for it"
        raise UsageError(msg, hint)
    if username is None:
        return Address(request.target, request.username)
    named = name(username)
    if request.username not in {None, named}:
        msg = "the URL names one user and --username another"
        raise UsageError(msg, "name the user once")
    return Address(request.target, named)


def name(username: str) -> str:
    """Return the user name as it is stored: its bytes, whatever the locale made of them.

    Raises:
        UsageError: it has a control character.
    """
    return str(_checked("user name", username), "utf-8", "surrogateescape")


def _checked(what: str, text: str) -> bytes:
    """Return the bytes that were typed, if none of them is a control character."""
    packed = os.fsencode(text)
    if not git.CONTROL.isdisjoint(packed):
        # An LF would be read as the end of a line of git's, and what follows as an attribute.
        msg = f"the {what} has a control character"
        raise UsageError(msg, "type it by hand")
    return packed
