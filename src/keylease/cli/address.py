"""The URL and the user name of a command: the option, and `keylease.address` by its short name."""

from __future__ import annotations

import click

from keylease.address import Address, describe, name
from keylease.address import parse_url as read

__all__ = ["Address", "describe", "name", "read", "username_option"]

username_option = click.option(
    "--username",
    metavar="USER",
    help="Whose session, where the URL names nobody (https://USER@host).",
)
"""The option `--username`, as every command with a URL has it."""
