"""`keylease revoke`: delete the vault key and end every session."""

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
    "fix that and revoke again; or delete the item keylease:VAULT:session-key.NUMBER"
    " with the commands of docs/admin.md"
)


@click.command(cls=Command)
@click.option("--yes", "agreed", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def revoke(program: Program, agreed: bool) -> int:
    """Delete the vault key and end every session at once.

    It marks the vault as revoked, deletes the key from the keychain, and removes the volatile
    shares and the sealed files. If a step fails, it still takes the others, and reports what is
    left. Afterwards only keylease login or keylease init makes a new key; tools cannot. The audit
    log and its key stay.

    If the keychain is locked, everything else is done and the vault stays revoked. To delete the
    key itself, run this again, or the command that keylease key show prints.

    The exit code is 0 if nothing is left, 4 if the key may still be in the keychain, and 6 if files
    are left.
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
        raise UsageError(str(error), "nothing was changed; to skip the question: --yes") from None
    if answer.strip().lower() not in {b"y", b"yes"}:
        msg = "the answer was not y or yes, so nothing was changed"
        raise KeyleaseError(msg)


def _tell(done: Revoked) -> int:
    """Report what was done and what is left, and return the exit code."""
    remains = done.key_failure or done.failures or done.sealed
    if done.record is None and not (remains or done.sessions):
        say(_NOTHING)
        return 0
    _tell_key(done)
    say(f"ended {counted(len(done.sessions), 'session')}")
    if done.shares:
        warn(
            f"{counted(len(done.shares), 'volatile share')} could not be removed",
            "the system removes them at the latest at logout; without its file a share is useless",
        )
    # Several steps can fail for the same reason.
    for failure in {str(failure): failure for failure in done.failures}.values():
        complain(failure)
    if done.sealed:
        files = counted(done.sealed, "sealed file is", "sealed files are")
        complain(
            StateError(f"{files} left", "remove them by hand: sessions in the state directory")
        )
    return _exit_code(done)


def _tell_key(done: Revoked) -> None:
    """Report whether the vault is marked and the key deleted."""
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
