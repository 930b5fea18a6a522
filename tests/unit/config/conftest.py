"""In these tests the user who runs them owns the policy."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user for an administrator on Windows, where an owner has no number."""
    if sys.platform == "win32":
        monkeypatch.setattr("keylease.config.file._judge_owner", lambda _: None)
