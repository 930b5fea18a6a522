"""A console for the tests of each command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.console import Console

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Console:
    """Return a console on a machine where keylease was never used."""
    return Console(tmp_path / "state", monkeypatch, capsys)
