"""`keylease status`: show the live sessions and their keychain, as text or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keylease.cli import address
from keylease.cli.base import Command, Program, json_option, say, say_json, see_help
from keylease.cli.report import survey
from keylease.cli.table import counted, duration, lay_out, lay_out_block, time
from keylease.errors import UsageError, printable
from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from keylease.cli.report import Keychain, SessionLine, Survey

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""

HEAD: Final = ("TARGET", "NAMESPACE", "USER", "IDLE", "CAP", "ENFORCED BY")
_NO_VAULT: Final = "none yet; the first login creates the vault and its key"
_STATES: Final = {
    "available": "available",
    "unavailable": "cannot be read now",
    "revoked": "revoked at {}",
    "reset": "emptied by a restart of the machine; the next login makes a new key",
}
_ENFORCERS: Final = {
    "kernel": "kernel: it destroys half of the session's key, so no copy can be opened",
    "keylease": "keylease: it checks the time, refuses and removes the file",
}
# A name can have 64 KiB, which fits on no screen.
_LONGEST_NAME: Final = 1024


@click.command(cls=Command)
@click.argument("url", required=False)
@address.username_option
@address.tool_option
@json_option
@click.option(
    "--watch", "watched", is_flag=True, help="Count down on the terminal until you type Ctrl-C."
)
@click.pass_obj
@click.pass_context
def status(  # noqa: PLR0913, PLR0917 - click passes each option as an argument
    ctx: click.Context,
    program: Program,
    url: str | None,
    username: str | None,
    tool: str | None,
    as_json: bool,
    watched: bool,
) -> None:
    """Show the live sessions and their keychain, or the session for URL.

    IDLE is the time left if the session is not used again. CAP is the time left however often it is
    used. ENFORCED BY names what ends the session: the kernel, which destroys half of its key, or
    keylease, which checks the time. This command shows no secret and does not count as a use.

    With URL, show in detail the newest session that would answer git. With --tool, show that tool's
    session.

    With --watch, show each session as two bars that count down. Sessions are read again when one
    changes, and every 30 seconds. It ends with Ctrl-C, and with URL at the end of the session.

    The exit code is 0 with or without sessions, 3 if there is none for URL, 4 if the keychain is
    locked or cannot be reached, and 5 if the vault key was deleted or revoked.
    """
    if url is None and (username, tool) != (None, None):
        msg = "--username and --tool need a URL"
        raise UsageError(msg, see_help(ctx))
    if watched and as_json:
        msg = "--watch and --json exclude each other"
        raise UsageError(msg, "leave out one of them")
    wanted = None if url is None else address.read(url, username, tool)
    if watched:
        from keylease.cli.watch import open_terminal, watch

        console = open_terminal(ctx)
        with address.exact_hint(wanted, url, tool):
            watch(console, lambda: survey(program, wanted), _below, one=wanted is not None)
    report = survey(program, wanted)
    if as_json:
        say_json(_document(report))
    else:
        detailed = wanted is not None and bool(report.lines)
        for line in _detailed(report, report.lines[0]) if detailed else _listed(report):
            say(line)
    if report.error is not None:
        with address.exact_hint(wanted, url, tool):
            raise report.error


def _listed(report: Survey) -> list[str]:
    lines = []
    if report.lines:
        lines = [*lay_out(HEAD, [row(line) for line in report.lines]), ""]
    return [*lines, *_below(report)]


def _below(report: Survey) -> list[str]:
    """Return the lines below the sessions, and the line that replaces an empty list."""
    lines = [f"keychain: {_where(report.keychain)}"]
    if report.sealed:
        wait = counted(report.sealed, "sealed session waits", "sealed sessions wait")
        lines.insert(0, f"{wait} for the keychain; nothing was deleted")
    elif report.unknown:
        lines.insert(0, f"sessions that cannot be opened here: {report.unknown}")
    elif not report.lines:
        lines.insert(0, "no live session")
    return lines


def row(line: SessionLine) -> tuple[str, ...]:
    """Return a session in the columns of `HEAD`."""
    session, left = line
    return (
        _name(session.target.url),
        _name(session.target.namespace),
        _user(session.username),
        duration(left.ns // NANOSECONDS),
        duration(left.cap_ns // NANOSECONDS),
        line.enforced_by,
    )


def _detailed(report: Survey, line: SessionLine) -> list[str]:
    session, left = line
    holds = "a password" if session.target.namespace in {"web", "docker"} else "a secret"
    if session.authtype is not None:
        holds = f"an Authorization header, {_name(session.authtype)}"
    ends = [] if session.expires is None else [("expires", time(session.expires * NANOSECONDS))]
    return lay_out_block(
        (
            ("target", _name(session.target.url)),
            ("namespace", _name(session.target.namespace)),
            ("user", _user(session.username)),
            ("holds", holds),
            *ends,
            ("session", session.id),
            ("started", time(session.created.wall_ns)),
            ("last used", time(session.used.wall_ns)),
            ("released", "never" if session.released is None else time(session.released.wall_ns)),
            ("idle", _of(left.ns, session.idle_seconds)),
            ("cap", _of(left.cap_ns, session.cap_seconds)),
            ("enforced by", _ENFORCERS[line.enforced_by]),
            ("keychain", _where(report.keychain)),
        )
    )


def _of(left_ns: int, seconds: int) -> str:
    return f"{duration(left_ns // NANOSECONDS)} of {duration(seconds)}"


def _where(keychain: Keychain) -> str:
    if keychain.state == "none":
        return _NO_VAULT
    state = _STATES[keychain.state].format(keychain.revoked)
    return f"{keychain.title} ({keychain.name}), key generation {keychain.generation}, {state}"


def _user(username: str | None) -> str:
    if not username:
        return "(none)" if username is None else "(empty)"
    return _name(username)


def _name(text: str) -> str:
    """Return a name that is safe to lay out. A very long one is cut and marked."""
    if len(text) > _LONGEST_NAME:
        text = f"{text[:_LONGEST_NAME]}[cut, {len(text)} characters]"
    return printable(text)


def _document(report: Survey) -> dict[str, object]:
    return {
        "format": FORMAT,
        "keychain": report.keychain._asdict(),
        "sealed": report.sealed,
        "sessions": [to_json(line) for line in report.lines],
    }


def to_json(line: SessionLine) -> dict[str, object]:
    """Return a session as every command prints it with --json. docs/cli.md lists the fields."""
    session, left = line
    released = session.released
    return {
        "id": session.id,
        "target": session.target._asdict(),
        "username": session.username,
        "authtype": session.authtype,
        "expires": None if session.expires is None else time(session.expires * NANOSECONDS),
        "created": time(session.created.wall_ns),
        "used": time(session.used.wall_ns),
        "released": None if released is None else time(released.wall_ns),
        "idle_seconds": session.idle_seconds,
        "idle_seconds_left": left.ns // NANOSECONDS,
        "cap_seconds": session.cap_seconds,
        "cap_seconds_left": left.cap_ns // NANOSECONDS,
        "end": line.end,
        "enforced_by": line.enforced_by,
    }
