"""`keylease setup kubernetes`: let a user of the kubeconfig ask keylease.

kubectl reads the kubeconfig for us: it is YAML, can be several files, and holds secrets. The file
is edited as text and replaced once, under kubectl's own lock. `kubectl config set-credentials`
would lose comments, and a kill can cut its write off in the middle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import IO, Any, Final

import click

from keylease import tools
from keylease.cli import location, replacement
from keylease.cli.executable import find
from keylease.cli.setup import kubeconfig, programs
from keylease.cli.setup.base import (
    Change,
    Plan,
    SetupError,
    carry_out,
    difference,
    read,
    setup_command,
)
from keylease.cli.setup.gitconfig import find as lookup

TOOL: Final = tools.named("kubernetes")
API: Final = "client.authentication.k8s.io/v1"
_ENTRY: Final = {"apiVersion": API, "interactiveMode": "Never", "provideClusterInfo": True}
_SECONDS: Final = 20
# The other ways in which a user can authenticate. kubectl prefers them to an exec entry.
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


@setup_command
@click.argument("user")
def kubernetes(user: str, dry_run: bool, undo: bool) -> None:
    """Let USER of your kubeconfig ask keylease.

    It gives the user an exec entry, and makes the user if there is none:

    \b
        exec:
          apiVersion: client.authentication.k8s.io/v1
          command: /home/ada/.local/bin/keylease-kubernetes
          interactiveMode: Never
          provideClusterInfo: true

    The program is named by its path, so that clients find it from cron and from a desktop, too.
    Everything else in the file stays. A user that has another way to authenticate is refused,
    because kubectl would use that one: take it out first. Kubernetes clients cannot start a
    session: start it with keylease login --tool kubernetes SERVER.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    carry_out("kubernetes", _undoing(user) if undo else _plan(user), dry_run=dry_run, undo=undo)


def _plan(user: str) -> Plan:
    """Return the change that gives the user the entry."""
    path = _path(user)
    before, held = read(path), _users(path).get(user, {})
    _check(user, held)
    find(TOOL.program)
    old, new = _ours(held), programs.named(TOOL.program)
    if old == new:
        return Plan(())
    text = (before or b"").decode("utf-8", "surrogateescape")
    bare = text if old is None else kubeconfig.without_exec(text, user, whole=False)
    entry = {**_ENTRY, "command": new}
    # A JSON string is a YAML string, too.
    lines = [f"{key}: {json.dumps(value)}" for key, value in entry.items()]
    after = kubeconfig.with_exec(bare, user, lines).encode("utf-8", "surrogateescape")
    _check_text(path, after, user, entry)
    shown = difference(f"users: {user}: exec: command: ", old, new)
    return Plan((Change(path, before, after, tuple(shown), locked=True),))


def _undoing(user: str) -> Plan:
    """Return the change that removes the entry, and the user if it has nothing else."""
    path = _path(user)
    before, held = read(path), _users(path).get(user, {})
    old = _ours(held)
    if old is None:
        return Plan(())
    text = (before or b"").decode("utf-8", "surrogateescape")
    bare = kubeconfig.without_exec(text, user, whole=set(held) == {"exec"})
    after = bare.encode("utf-8", "surrogateescape")
    _check_text(path, after, user, None)
    shown = (f"- users: {user}: exec: command: {old}",)
    return Plan((Change(path, before, after, shown, locked=True),))


def _check_text(path: str, after: bytes, user: str, entry: dict[str, Any] | None) -> None:
    """Check that the edit changed the meaning of the entry and of nothing else.

    Raises:
        SetupError: it changed more, because the file is not written as kubectl writes it.
    """
    wanted, found = _users(path), _read_by_kubectl(path, after)
    held, got = wanted.pop(user, {}), found.pop(user, {})
    held.pop("exec", None)
    given = got.pop("exec", None) or {}
    # kubectl shows missing fields as null: the arguments, the environment.
    fields = {key: value for key, value in given.items() if value is not None}
    if found != wanted or got != held or fields != (entry or {}):
        msg = f"{path} is not written as kubectl writes it, and cannot be edited"
        raise SetupError(msg, "write the entry by hand, see docs/tools/kubernetes.md")


def _read_by_kubectl(path: str, data: bytes) -> dict[str, dict[str, Any]]:
    """Return the users of a kubeconfig that is not written yet.

    kubectl opens the file more than once, so a pipe does not work.
    """
    if sys.platform == "linux":
        # memfd_create(2): a file in memory, which ends with this process, however that ends.
        with open(os.memfd_create("kubeconfig"), "w+b") as file:
            file.write(data)
            file.flush()
            return _users("/dev/stdin", file)
    path = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with replacement.temporary_for(path, [data], 0o600) as temporary:
            return _users(temporary)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise SetupError(msg) from error


def _ours(held: dict[str, Any]) -> str | None:
    """Return the program that a user's entry names, if it is keylease's."""
    entry = held.get("exec")
    command = entry.get("command") if isinstance(entry, dict) else None
    ours = isinstance(command, str) and os.path.basename(command) == TOOL.program
    return command if ours else None


def helpers() -> list[str]:
    """Return the programs of keylease that the kubeconfig names; none without kubectl.

    Raises:
        SetupError: kubectl cannot read it.
    """
    if lookup(TOOL.commands[0], os.get_exec_path()) is None:
        return []
    return [command for user in _users().values() if (command := _ours(user)) is not None]


def _check(user: str, held: dict[str, Any]) -> None:
    """Refuse a user for which kubectl would not ask keylease."""
    # `kubectl config unset` takes a full stop for the end of a name.
    if "." in user or user.startswith("-"):
        msg = f"kubectl config does not accept the user name {user!a}"
        raise SetupError(msg, "write the entry by hand, see docs/tools/kubernetes.md")
    others = sorted(_OTHERS & set(held))
    if others:
        msg = f"the user {user} authenticates with {', '.join(others)}"
        raise SetupError(msg, f"take it out: kubectl config unset users.{user}.{others[0]}")
    if held.get("exec") is not None and _ours(held) is None:
        msg = f"the user {user} asks another program"
        raise SetupError(msg, f"take it out: kubectl config unset users.{user}.exec")


def _path(user: str) -> str:
    """Return the file that kubectl would write: the one with the user, or the first that exists."""
    named = [each for each in os.environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    paths = named or [location.path(TOOL.configuration[0])]
    there = [each for each in paths if os.path.exists(each)]
    return next((each for each in there if user in _users(each)), [*there, paths[-1]][0])


def _users(path: str | None = None, stdin: IO[bytes] | None = None) -> dict[str, dict[str, Any]]:
    """Return the users of a kubeconfig. kubectl leaves their secrets out."""
    if path is not None and not os.path.exists(path):
        return {}
    words = () if path is None else (f"--kubeconfig={path}",)
    try:
        users = (
            json.loads(_kubectl("view", "--output=json", *words, stdin=stdin)).get("users") or []
        )
        return {each["name"]: dict(each["user"] or {}) for each in reversed(users)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        msg = "the output of kubectl config view is not a kubeconfig"
        raise SetupError(msg) from None


def _kubectl(*words: str, stdin: IO[bytes] | None = None) -> str:
    """Run `kubectl config` and return its output.

    Raises:
        SetupError: it fails or takes too long.
    """
    command = [find("kubectl"), "config", *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        msg = f"kubectl config {words[0]} took longer than {_SECONDS} s"
        raise SetupError(msg) from None
    if done.returncode != 0:
        msg = f"kubectl config {words[0]} failed with exit code {done.returncode}"
        # kubectl's own message is not shown: it may repeat a line of the file, with a token in it.
        hint = "run kubectl config view, or write the entry by hand: docs/tools/kubernetes.md"
        raise SetupError(msg, hint)
    return done.stdout
