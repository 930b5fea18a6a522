"""`keylease setup kubernetes`: a user of the kubeconfig that asks keylease.

It calls `kubectl config` and parses no file of kubectl's: a kubeconfig is YAML, may be several
files, and holds secrets.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Final

import click

from keylease.cli.base import Command, Program, say
from keylease.cli.executable import find
from keylease.cli.setup.base import SetupError, dry_run_option, undo_option
from keylease.cli.setup.gitconfig import find as lookup

PROGRAMS: Final = ("kubectl",)
COMMAND: Final = "keylease setup kubernetes USER"
"""What a person has to say, because it needs a further word."""

HELPER: Final = "keylease-kubernetes"
API: Final = "client.authentication.k8s.io/v1"
_SECONDS: Final = 20
# What else a user of a kubeconfig can authenticate with; kubectl uses it before it asks anybody.
_OTHERS: Final = frozenset(
    {
        "token",
        "tokenFile",
        "client-certificate",
        "client-certificate-data",
        "client-key",
        "client-key-data",
        "username",
        "password",
        "auth-provider",
    }
)


@click.command(cls=Command)
@click.argument("user")
@dry_run_option
@undo_option
@click.pass_obj
def kubernetes(_: Program, user: str, dry_run: bool, undo: bool) -> None:
    """Let USER of your kubeconfig be answered from sessions.

    It makes the user, or gives it an exec entry, by kubectl config:

    \b
        exec:
          apiVersion: client.authentication.k8s.io/v1
          command: keylease-kubernetes
          interactiveMode: Never
          provideClusterInfo: true

    A user that has another way to authenticate is left as it is, because kubectl would use that
    one: take it out first. Kubernetes clients cannot start a session: that is done with keylease
    login --tool kubernetes SERVER.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    held = _user(user)
    entry = held.get("exec")
    ours = isinstance(entry, dict) and entry.get("command") == HELPER
    if undo:
        if not ours:
            say("nothing to undo")
            return
        _tell(user, "-", dry_run=dry_run)
        if not dry_run:
            rest = set(held) - {"exec"}
            _kubectl("unset", f"users.{user}.exec" if rest else f"users.{user}")
        return
    _check(user, held, entry, ours=ours)
    if ours:
        say("nothing to change")
        return
    find(HELPER)
    _tell(user, "+", dry_run=dry_run)
    if not dry_run:
        _kubectl(
            "set-credentials",
            user,
            f"--exec-command={HELPER}",
            f"--exec-api-version={API}",
            "--exec-interactive-mode=Never",
            "--exec-provide-cluster-info=true",
        )


def helpers() -> list[str]:
    """Return the program if the kubeconfig names it; without kubectl nobody can tell.

    Raises:
        SetupError: kubectl cannot read it.
    """
    if lookup(PROGRAMS[0], os.get_exec_path()) is None:
        return []
    entries = [user.get("exec") for user in _users().values()]
    named = [each.get("command") for each in entries if isinstance(each, dict)]
    return [each for each in named if isinstance(each, str) and os.path.basename(each) == HELPER]


def _check(user: str, held: dict[str, Any], entry: object, *, ours: bool) -> None:
    """Refuse a user that keylease would not be asked for."""
    # In the key of `kubectl config unset` a full stop ends a name.
    if "." in user or user.startswith("-"):
        msg = f"the user {user!a} has a name that kubectl config cannot be told"
        raise SetupError(msg, "write the entry by hand, see docs/tools/kubernetes.md")
    others = sorted(_OTHERS & set(held))
    if others:
        msg = f"the user {user} authenticates with {', '.join(others)}"
        raise SetupError(msg, f"take it out: kubectl config unset users.{user}.{others[0]}")
    if entry is not None and not ours:
        msg = f"the user {user} asks another program"
        raise SetupError(msg, f"take it out: kubectl config unset users.{user}.exec")


def _tell(user: str, mark: str, *, dry_run: bool) -> None:
    say(f"{'would change' if dry_run else 'changed'} the kubeconfig:")
    say(f"  {mark} users: {user}: exec: command: {HELPER}")


def _user(name: str) -> dict[str, Any]:
    """Return what the kubeconfig says of a user; kubectl itself leaves the secrets out."""
    return _users().get(name, {})


def _users() -> dict[str, dict[str, Any]]:
    try:
        users = json.loads(_kubectl("view", "--output=json")).get("users") or []
        return {each["name"]: dict(each["user"] or {}) for each in reversed(users)}
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = "kubectl config view says something that is no kubeconfig"
        raise SetupError(msg) from None


def _kubectl(*words: str) -> str:
    """Run `kubectl config` and return what it says.

    Raises:
        SetupError: it fails, or does not come to an end.
    """
    command = [find("kubectl"), "config", *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        msg = f"kubectl config {words[0]} does not end within {_SECONDS} s"
        raise SetupError(msg) from None
    if done.returncode != 0:
        msg = f"kubectl config {words[0]} failed with exit code {done.returncode}"
        # Not its own words: they may repeat a line of the file, and with it a token. An older
        # kubectl does not know the options.
        hint = "look at kubectl config view, or write the entry by hand: docs/tools/kubernetes.md"
        raise SetupError(msg, hint)
    return done.stdout
