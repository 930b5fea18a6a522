"""Addresses: turn a URL and a user name that a person types into a target.

The URL is parsed by the code that reads git's messages, so a session is made, found and ended under
exactly the names that git uses.
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
    """The target and the user of a session.

    Most operations begin with these two arguments: `sessions.get(*address)`.

    New in version 0.1.0.
    """

    target: Target
    username: str | None
    """`None` if no user is named. An empty name is a name."""

    def __str__(self) -> str:
        """Return the address in words. The names are not escaped."""
        return describe(self.target, self.username)


def describe(target: Target, username: str | None) -> str:
    """Return the target and the user of a session in words."""
    if username is None:
        return target.url
    return f"{target.url} as {username or 'the empty user name'}"


def login_command(wanted: Address, url: str | None = None, tool: str | None = None) -> str:
    """Return the shell command that starts such a session.

    Args:
        wanted: The address of the session.
        url: The name that `tool` has for the session; the target's URL if not given.
        tool: The tool of the session; git if not given.
    """
    from shlex import quote

    words = ["keylease", "login"]
    words += [] if tool is None else ["--tool", tool]
    words += [wanted.target.url if tool is None or url is None else url]
    words += [] if wanted.username is None else ["--username", wanted.username]
    return " ".join(map(quote, words))


def parse_url(url: str, username: str | None = None) -> Address:
    """Return the address of a URL, exactly as git would ask for it.

    Args:
        url: A URL for git. It may contain a user name, but no password.
        username: The user, if the URL contains none; any user if not given.

    Raises:
        UsageError: the URL or the name is not valid. The message never repeats the URL, because it
            may contain a password.

    New in version 0.1.0.
    """
    message = bytearray(b"url=" + _checked("URL", url) + b"\n\n")
    try:
        # Parse it as an `erase`: of the three operations, only `erase` always reports a password,
        # and it only compares with it.
        request = git.parse(Call(("erase",), {}, message))
    except RequestError as error:
        msg = f"git cannot use this URL: {error}"
        raise UsageError(msg, _EXAMPLE) from None
    finally:
        secure_clear(message)
    if request.credential is not None or request.target is None:
        request.wipe()
        msg = "the URL contains a password"
        hint = "leave it out, because other users can see a command line; login asks for it"
        raise UsageError(msg, hint)
    if username is None:
        return Address(request.target, request.username)
    named = name(username)
    if request.username not in {None, named}:
        msg = "the URL names one user and --username another"
        raise UsageError(msg, "name the user once")
    return Address(request.target, named)


def name(username: str) -> str:
    """Return the user name as it is stored: the typed bytes, independent of the locale.

    Raises:
        UsageError: it contains a control character.
    """
    return str(_checked("user name", username), "utf-8", "surrogateescape")


def _checked(what: str, text: str) -> bytes:
    """Return the typed bytes. Refuse control characters."""
    packed = os.fsencode(text)
    if not git.CONTROL.isdisjoint(packed):
        # An LF would end the line of git's message and start another attribute.
        msg = f"the {what} has a control character"
        raise UsageError(msg, "type it by hand")
    return packed
