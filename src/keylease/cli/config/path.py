"""`keylease config path`: where the configuration is written."""

from __future__ import annotations

import click

from keylease import config
from keylease.cli.base import Command, say
from keylease.system.paths import config_directory


@click.command(cls=Command)
@click.option("--policy", is_flag=True, help="The policy of this machine instead.")
def path(policy: bool) -> None:
    """Print the path of your configuration file.

    It is printed whether or not there is one. The first part of it can be moved as the platform has
    it, on Linux by XDG_CONFIG_HOME. That of the policy cannot be moved.
    """
    if policy:
        say(config.machine_policy().path)
        return
    found = config.user_file()
    # Without a home there is no such file, and that is what the directory has to say.
    say(found.path if found else config_directory())
