"""The record of the vault: what is not exactly one is refused, and never written over."""

import json
import sys

import pytest
from support.vaults import GOOD, Place

from keylease.errors import (
    StateError,
)
from keylease.vault.record import FILE


@pytest.fixture
def place(tmp_path):
    """Return an empty state directory and an empty keychain."""
    return Place(tmp_path / "keylease")


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'"text"',
        b"not json",
        b"\xff\xfe\x00",
        b"[" * 4000,
        b'{"a":' * 800,
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                {"format": 2},
                {"format": "1"},
                {"vault": 5},
                {"vault": None},
                {"vault": "short"},
                {"vault": "../../../../etc/"},
                {"vault": "0123456789ABCDEF"},
                {"keychain": ["memory"]},
                {"instance": None},
                {"generation": "1"},
                {"generation": -1},
                {"generation": 1.5},
                {"generation": True},
                {"audit_generation": None},
                {"created": 0},
                {"boot": 0},
                {"revoked": False},
                {"revoked": 0},
                {"extra": "field"},
            )
        ),
        *(
            json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()
            for name in GOOD
            if name != "revoked"
        ),
    ],
    ids=lambda packed: repr(packed[:60]),
)
def test_a_record_that_is_not_ours_is_refused_with_advice(place, packed):
    """A damaged file is neither a missing vault nor a revoked one, and is not written over."""
    place.create()
    (place.path / FILE).write_bytes(packed)
    items = place.keychain.items

    for attempt in (place.vault().record, place.open, place.create):
        with pytest.raises(
            StateError, match=r"vault\.json is not a vault record of format 1"
        ) as caught:
            attempt()
        assert "start afresh" in caught.value.hint
    assert packed == (place.path / FILE).read_bytes()
    assert items == place.keychain.items


def test_a_record_that_is_too_long_is_refused(place):
    """No file makes a helper read without end."""
    place.create()
    (place.path / FILE).write_bytes(b" " * 4097)

    with pytest.raises(StateError):
        place.open()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
def test_a_record_that_others_can_read_is_refused(place):
    """A file that is not private was not written by keylease."""
    place.create()
    (place.path / FILE).chmod(0o644)

    with pytest.raises(StateError, match="mode 0644, not 0600"):
        place.open()
