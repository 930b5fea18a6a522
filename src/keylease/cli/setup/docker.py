"""`keylease setup docker`: set one entry in docker's configuration; `--move` moves its plaintext.

`credsStore` names the program `docker-credential-X` that docker asks for every registry.
`credHelpers` names one for a single registry (docker-login(1), "Credential stores"). docker
rewrites the file at each login and drops what it does not know, so the replaced value is recorded
in the state directory.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from keylease import tools
from keylease.cli import location
from keylease.cli.base import Program, say, warn
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    difference,
    read,
    setup_command,
    undo_alone,
)
from keylease.cli.setup.members import put, take
from keylease.cli.setup.records import replaced
from keylease.model import Credential
from keylease.protocols.docker import target
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Edit = tuple[tuple[str, ...], str | None]

TOOL: Final = tools.named("docker")
HELPER: Final = "keylease"
EXECUTABLE: Final = f"docker-credential-{HELPER}"
_STORE: Final = "credsStore"
_HELPERS: Final = "credHelpers"
_NAME: Final = re.compile(r"[\w.+-]{1,64}", re.ASCII)
# docker-login(1): without a credential store the file holds these, in base64 or as plain text.
_SECRETS: Final = ("auth", "password", "identitytoken", "registrytoken")


class Login(NamedTuple):
    """A login that the file holds in plaintext."""

    registry: str
    username: str
    secret: str


@setup_command
@click.argument("registries", metavar="[REGISTRY]...", nargs=-1)
@click.option(
    "--move",
    is_flag=True,
    help="Start a session for each login that the file has in plaintext, and take it out of the "
    "file. No copy is left when the session ends: log in again then.",
)
@click.pass_obj
def docker(
    program: Program, registries: tuple[str, ...], dry_run: bool, undo: bool, move: bool
) -> None:
    """Let docker keep its logins in sessions.

    It sets credsStore in docker's config.json to keylease. With REGISTRY keylease keeps only the
    logins to these registries, by an entry in credHelpers for each. Entries of credHelpers for
    other registries stay, and count before credsStore.

    Everything else in the file stays. Logins in plaintext stay too, but docker no longer reads
    them: see --move. --undo puts back the old value of credsStore.
    """
    if undo:
        undo_alone(move, registries)
    before, document = _document()
    if undo:
        carry_out("docker", _undoing(before, document), dry_run=dry_run, undo=True)
        return
    planned = _plan(before, document, registries, move=move)
    moved = _logins(document) if move else []
    if moved and not dry_run:
        _start(program, moved)
    carry_out("docker", planned, dry_run=dry_run, undo=False)
    for login in moved:
        say(f"{'would move' if dry_run else 'moved'} the login to {login.registry} to a session")
    _warn(document, move=move)


def plan() -> Plan:
    """Return the changes that setup has to make.

    Raises:
        SetupError: docker's configuration cannot be read.
    """
    return _plan(*_document(), (), move=False)


def helpers() -> list[str]:
    """Return the programs of keylease that the configuration names, if any.

    Raises:
        SetupError: the configuration cannot be read.
    """
    _, document = _document()
    named = [document.get(_STORE), *(document.get(_HELPERS) or {}).values()]
    return [EXECUTABLE] if HELPER in named else []


def _plan(
    before: bytes | None, document: dict[str, Any], registries: Sequence[str], *, move: bool
) -> Plan:
    edits: list[_Edit] = []
    shown: list[str] = []
    kept = replaced("docker")
    if registries:
        helpers = document.get(_HELPERS) or {}
        for registry in registries:
            target(registry)
            if helpers.get(registry) != HELPER:
                shown += difference(f"{_HELPERS}: {registry}: ", helpers.get(registry), HELPER)
                kept.setdefault(_HELPERS, {})[registry] = helpers.get(registry)
                edits.append(((_HELPERS, registry), HELPER))
    elif document.get(_STORE) != HELPER:
        shown += difference(f"{_STORE}: ", document.get(_STORE), HELPER)
        kept[_STORE] = document.get(_STORE)
        edits.append(((_STORE,), HELPER))
    if move:
        for login in _logins(document):
            # The registry's name stays: docker keeps it there, too, if a store has the login.
            entry = document["auths"][login.registry]
            edits += [(("auths", login.registry, each), None) for each in _SECRETS if each in entry]
            shown.append(f"- auths: {login.registry}: the login")
    known = [_known(each) for each in (kept.get(_STORE), *kept.get(_HELPERS, {}).values()) if each]
    change = _change(before, edits, shown, exact=not move)
    return Plan((change._replace(known=tuple(known)),), kept)


def _known(store: object) -> bytes:
    """Return the name of the credential store that is replaced, for the record.

    Raises:
        SetupError: it is not a name, so it may be a secret.
    """
    if not isinstance(store, str) or _NAME.fullmatch(store) is None:
        msg = f"{_path()} names a credential store that cannot be the name of a program"
        raise SetupError(msg, "take that entry out, then try again")
    return store.encode("ascii")


def _undoing(before: bytes | None, document: dict[str, Any]) -> Plan:
    edits: list[_Edit] = []
    shown: list[str] = []
    kept = replaced("docker")
    if document.get(_STORE) == HELPER:
        shown += difference(f"{_STORE}: ", HELPER, kept.get(_STORE))
        edits.append(((_STORE,), kept.get(_STORE)))
    helpers = document.get(_HELPERS) or {}
    left = dict(helpers)
    for registry in [name for name, value in helpers.items() if value == HELPER]:
        old = kept.get(_HELPERS, {}).get(registry)
        shown += difference(f"{_HELPERS}: {registry}: ", HELPER, old)
        edits.append(((_HELPERS, registry), old))
        if old is None:
            del left[registry]
    if helpers and not left:
        edits.append(((_HELPERS,), None))
    return Plan((_change(before, edits, shown),))


def _change(
    before: bytes | None, edits: Sequence[_Edit], shown: Sequence[str], *, exact: bool = True
) -> Change:
    text = (before or b"").decode("utf-8")
    for path, value in edits:
        text = take(text, path) if value is None else put(text or "{}", path, value)
    after = text.encode("utf-8") if edits else before
    return Change(_path(), before, after, tuple(shown), exact=exact)


def _document() -> tuple[bytes | None, dict[str, Any]]:
    """Return docker's configuration, as bytes and parsed."""
    before, path = read(_path()), _path()
    try:
        # As docker reads it: UTF-8 without a byte order mark.
        document = json.loads((before or b"").decode("utf-8") or "{}")
    except (ValueError, RecursionError):
        msg = f"{path} is not valid JSON"
        # `from None`: the error may repeat text of the file.
        raise SetupError(msg, "docker cannot read it either; repair it first") from None
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), dict | None) for key in (_HELPERS, "auths")
    ):
        msg = f"{path} is not a configuration of docker"
        raise SetupError(msg)
    return before, document


def _logins(document: dict[str, Any]) -> list[Login]:
    """Return the logins that the file holds in plaintext."""
    found = []
    for registry, entry in (document.get("auths") or {}).items():
        login = _login(registry, entry) if isinstance(entry, dict) else None
        if login is not None:
            found.append(login)
    return found


def _login(registry: str, entry: dict[str, Any]) -> Login | None:
    """Return the login of an entry, if a session can hold it."""
    token, encoded = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        # docker stores an identity token under this user name.
        return Login(registry, "<token>", token)
    if not isinstance(encoded, str) or not encoded:
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8").rstrip("\0")
    except (binascii.Error, UnicodeDecodeError):
        return None
    username, colon, secret = text.partition(":")
    return Login(registry, username, secret) if colon and username and secret else None


def _start(program: Program, logins: Sequence[Login]) -> None:
    """Start the sessions before the file is changed, so that no login can be lost."""
    wiring = program.wiring()
    for login in logins:
        with Secret(login.secret.encode("utf-8")) as secret:
            wiring.auth.login(target(login.registry), Credential(login.username, secret))


def _warn(document: dict[str, Any], *, move: bool) -> None:
    if os.environ.get("DOCKER_AUTH_CONFIG"):
        warn("DOCKER_AUTH_CONFIG is set, so docker does not ask keylease", "unset it")
    entries = (document.get("auths") or {}).values()
    if not move and any(
        isinstance(each, dict) and each.get(s) for each in entries for s in _SECRETS
    ):
        warn(
            f"{_path()} holds logins in plaintext",
            "move them to sessions with: keylease setup docker --move",
        )


def _path() -> str:
    return location.path(TOOL.configuration[0])
