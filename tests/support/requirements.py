"""What a test needs of the machine, and what happens if that is missing.

On a developer's machine the test is skipped with the reason. The machine of CI has every piece, so
`KEYLEASE_CI_REQUIRE=secret-service,kernel-keyring` there turns the skips of those names into
failures.
"""

from __future__ import annotations

import os

import pytest

VARIABLE = "KEYLEASE_CI_REQUIRE"


def require(condition: object, name: str, reason: str) -> None:
    """Go on if `condition` holds; else skip the test, or fail it where `name` is required.

    Args:
        condition: True if the piece is there.
        name: The piece's name in `KEYLEASE_CI_REQUIRE`.
        reason: What is missing, for the report.
    """
    if condition:
        return
    if name in os.environ.get(VARIABLE, "").replace(" ", "").split(","):
        pytest.fail(f"{VARIABLE} demands {name}: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


def require_root(reason: str) -> None:
    """Go on as root; else skip the test, or fail it where root is required.

    Args:
        reason: What only root may do.
    """
    require(hasattr(os, "geteuid") and os.geteuid() == 0, "root", reason)


def require_ordinary_user(reason: str) -> None:
    """Go on as an ordinary user; else skip the test, or fail it where one is required.

    Args:
        reason: What root could do despite the test.
    """
    require(hasattr(os, "geteuid") and os.geteuid() != 0, "ordinary-user", reason)
