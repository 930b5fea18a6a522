"""The record of the vault: an invalid one is refused and never overwritten."""

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
    """A damaged file is neither a missing nor a revoked vault, and is not overwritten."""
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
    """A record that is too long is refused without being read whole."""
    place.create()
    (place.path / FILE).write_bytes(b" " * 4097)

    with pytest.raises(StateError):
        place.open()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of POSIX")
def test_a_record_that_others_can_read_is_refused(place):
    """A record that others can read was not written by keylease, and is refused."""
    place.create()
    (place.path / FILE).chmod(0o644)

    with pytest.raises(StateError, match="mode 0644, not 0600"):
        place.open()
