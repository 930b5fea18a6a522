"""Check that the configuration and the machine's policy can be read and are valid."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keylease import config
from keylease.cli.doctor.base import Finding
from keylease.cli.table import duration
from keylease.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Read both files and the variables, as the helper does.

    Raises:
        ConfigError: a value is invalid, or a file is not trusted.
    """
    user, policy = config.user_file(), config.machine_policy()
    found = config.load(
        {"keychain": subject.keychain}, user=user, policy=policy, environment=os.environ
    )
    files = [place.path for place in (policy, user) if place and os.path.lexists(place.path)]
    sources = " and ".join(files) or "there is no policy and no configuration file of yours"
    idle, cap = found.settings.limits
    lives = f"{duration(idle)} without use, after {duration(cap)} at the latest"
    yield Finding("ok", f"{sources}; a new session ends after {lives}")
    revoked = [name for name, terms in found.settings.targets.items() if terms.revoked]
    if found.settings.general.revoked:
        yield Finding("warn", "the policy has revoked every session", PolicyError.hint)
    elif revoked:
        names = ", ".join(sorted(revoked))
        yield Finding("warn", f"the policy has revoked every session for {names}", PolicyError.hint)
