"""`keylease config show`: each effective setting, its source, and the setting it overrides."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from keylease import config
from keylease.cli.base import Command, Program, json_option, say, say_json
from keylease.cli.table import lay_out
from keylease.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.config import Configuration, Effective, Place
    from keylease.config.base import Stated, Value

FORMAT: Final = 1
"""The version of the JSON. It increases when a field is removed or changes its meaning."""

_HEAD: Final = ("KEY", "VALUE", "FROM", "INSTEAD OF")


@click.command(cls=Command)
@json_option
@click.pass_obj
def show(program: Program, as_json: bool) -> None:
    """Show the effective settings, and where each comes from.

    The first of these that has a value counts: an option, a KEYLEASE variable, your configuration
    file, the default. The policy of this machine and a section for one target can only make times
    shorter and store stricter. INSTEAD OF then shows the value that they override.

    docs/configuration.md lists every key. The exit code is 8 if a file cannot be read, is not
    trusted or is not valid.
    """
    user, policy = config.user_file(), config.machine_policy()
    found = config.load(
        {"keychain": program.keychain or None}, user=user, policy=policy, environment=os.environ
    )
    places = (policy,) if user is None else (user, policy)
    if as_json:
        say_json(_document(found, places))
    else:
        for line in _listed(found, places):
            say(line)


def _listed(found: Configuration, places: tuple[Place, ...]) -> list[str]:
    lines = _table(found.general)
    for target, effective in found.targets.items():
        lines += ["", f"for {target}", *_table(effective)]
    return [*lines, "", *(_file(place) for place in places)]


def _table(effective: Mapping[str, Effective]) -> list[str]:
    return lay_out(_HEAD, [(name, *_row(each)) for name, each in effective.items()])


def _row(effective: Effective) -> tuple[str, str, str]:
    wish = effective.instead_of
    instead_of = "" if wish is None else f"{_value(wish.value)}, {printable(wish.source)}"
    return (_value(effective.value), printable(effective.source), instead_of)


def _value(value: Value) -> str:
    if value is None:
        return "(the best)"
    return str(value).lower() if isinstance(value, bool) else printable(str(value))


def _file(place: Place) -> str:
    missing = "" if os.path.lexists(place.path) else ", not there"
    return f"{place.kind} file: {place.path}{missing}"


def _document(found: Configuration, places: tuple[Place, ...]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "files": {
            place.kind: {"path": place.path, "found": os.path.lexists(place.path)}
            for place in places
        },
        "settings": _records(found.general),
        "targets": {target: _records(each) for target, each in found.targets.items()},
    }


def _records(effective: Mapping[str, Effective]) -> dict[str, object]:
    return {
        name: {
            "value": each.value,
            "source": each.source,
            "instead_of": _record(each.instead_of),
        }
        for name, each in effective.items()
    }


def _record(stated: Stated | None) -> dict[str, object] | None:
    return None if stated is None else stated._asdict()
