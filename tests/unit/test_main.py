"""Which of the two entrances a command line uses."""

from __future__ import annotations

import pytest

from keylease.__main__ import names_operation


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("get", True),
        ("store", True),
        ("erase", True),
        ("capability", True),
        ("--timeout 60 get", True),
        ("--timeout=60 --keychain kernel get", True),
        ("", False),
        ("status", False),
        ("--version", False),
        ("--keychain kernel status", False),
        ("--keychain kernel extend https://example.com --username get", False),
        ("login https://example.com --username store", False),
        ("get status", False),
    ],
)
def test_operations_go_to_the_helper_and_the_rest_to_the_commands(
    line: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A helper's operation is answered in git's way, and any other command in a person's way."""
    assert expected == names_operation(line.split())
