"""Who owns a policy in these tests: whoever runs them."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user for an administrator on Windows, where a place has no numbers of owners."""
    if sys.platform == "win32":
        monkeypatch.setattr("keylease.config.file._judge_owner", lambda _: None)
