"""`keylease revoke`: delete the vault key, and with it every session, in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keylease.cli.base import Command, Program, complain, say, warn
from keylease.cli.keychain import has_state, place
from keylease.cli.table import counted
from keylease.errors import KeychainUnavailableError, KeyleaseError, StateError, UsageError
from keylease.system import terminal

if TYPE_CHECKING:
    from keylease.vault.rotation import Revoked

_NOTHING = "there is no vault, so there is nothing to revoke"
_BY_NAME = (
    "put that right and revoke again; or delete the key by its name,"
    " keylease:VAULT:session-key.NUMBER, with the commands of docs/admin.md"
)


@click.command(cls=Command)
@click.option("--yes", "agreed", is_flag=True, help="Do it without asking.")
@click.pass_obj
def revoke(program: Program, agreed: bool) -> int:
    """Delete the vault key and end every session at once.

    It marks the vault as revoked, deletes the key from the keychain, and removes the volatile
    shares and the sealed files. A step that fails holds up no other, and what is left then is said.
    Nothing but a login, or keylease init, makes a new key afterwards; no tool can. The audit log
    and its own key stay.

    With a locked keychain everything else is done, and the vault stays revoked; the key itself is
    deleted when this is run again, or by the command that keylease key show names.

    The exit code is 0 only if nothing is left: else 4 if the key may still be in the keychain, or 6
    if files are.
    """
    if not has_state():
        say(_NOTHING)
        return 0
    if not agreed:
        _confirm()
    return _tell(program.wiring().custody.revoke())


def _confirm() -> None:
    question = "Delete the vault key and end every session? [y/N] "
    try:
        answer = terminal.ask(question)
    except UsageError as error:
        raise UsageError(
            str(error), "nothing was changed; to do it without asking: --yes"
        ) from None
    if answer.strip().lower() not in {b"y", b"yes"}:
        msg = "it was not confirmed, so nothing was changed"
        raise KeyleaseError(msg)


def _tell(done: Revoked) -> int:
    """Say what was done and what is left, and return the exit code."""
    remains = done.key_failure or done.failures or done.sealed
    if done.record is None and not (remains or done.sessions):
        say(_NOTHING)
        return 0
    _tell_key(done)
    say(f"ended {counted(len(done.sessions), 'session')}")
    if done.shares:
        warn(
            f"{counted(len(done.shares), 'volatile share')} could not be reached",
            "they die by themselves, or with the login; without its file a share opens nothing",
        )
    # More than one step can stop at the same thing.
    for failure in {str(failure): failure for failure in done.failures}.values():
        complain(failure)
    if done.sealed:
        files = counted(done.sealed, "sealed file is", "sealed files are")
        complain(
            StateError(f"{files} left", "remove them by hand: sessions in the state directory")
        )
    return _exit_code(done)


def _tell_key(done: Revoked) -> None:
    """Say what became of the vault key and of the mark."""
    if done.record is None:
        if done.key_failure is not None:
            msg = f"the vault is not marked, and its key may still be there: {done.key_failure}"
            complain(KeychainUnavailableError(msg, _BY_NAME))
        return
    title, command = place(done.record)
    if done.marked:
        say("marked the vault as revoked")
    elif done.record.revoked is not None:
        say(f"the vault is revoked since {done.record.revoked}")
    service = done.record.session_item.service
    if done.deleted:
        say(f"deleted the vault key {service} from {title}")
    elif done.key_failure is None:
        say(f"there is no vault key {service} in {title}")
    else:
        again = f" or run: {command}" if command else ""
        hint = f"unlock the keychain and revoke again,{again}" if again else None
        msg = f"the vault key {service} may still be in {title}: {done.key_failure}"
        complain(type(done.key_failure)(msg, hint))


def _exit_code(done: Revoked) -> int:
    if done.key_failure is not None:
        return KeychainUnavailableError.exit_code
    if done.failures:
        return done.failures[0].exit_code
    return StateError.exit_code if done.sealed else 0
