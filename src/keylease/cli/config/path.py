"""`keylease config path`: print the path of the configuration file."""

from __future__ import annotations

import click

from keylease import config
from keylease.cli.base import Command, say
from keylease.system.paths import config_directory


@click.command(cls=Command)
@click.option("--policy", is_flag=True, help="Print the path of this machine's policy instead.")
def path(policy: bool) -> None:
    """Print the path of your configuration file.

    The file need not exist. You can move its directory as the platform allows, on Linux with
    XDG_CONFIG_HOME. You cannot move the policy.
    """
    if policy:
        say(config.machine_policy().path)
        return
    found = config.user_file()
    # Without a home directory `config_directory` raises the error that says so.
    say(found.path if found else config_directory())
