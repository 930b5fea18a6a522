"""The record of the log's end has a fixed size and is believed only by its MAC."""

import pytest

from keylease.audit.head import HEAD_BYTES, Head, pack, parse, verify
from keylease.audit.line import key_id
from keylease.secrets.secret import Secret

KEY = Secret(b"k" * 32)
HEAD = Head(7, 5, "2026-11-22.jsonl", 4096, "ab" * 32, "cd" * 16, "ef" * 8, key_id(KEY))


@pytest.mark.parametrize("seq", [0, 1, 10**20 - 1])
def test_a_head_is_what_was_packed_and_of_one_size(seq):
    """A head reads back as packed and has a fixed size, so a full disk can overwrite it."""
    head = HEAD._replace(seq=seq)
    data = pack(head, KEY)

    assert HEAD_BYTES == len(data)
    assert head == parse(data)
    assert verify(data, KEY)
    assert data.isascii()
    assert 1 == data.count(b"\n")


def test_a_head_without_a_key_vouches_for_nothing():
    """A head without a MAC says so and verifies with no key."""
    head = HEAD._replace(key=None)
    data = pack(head, None)

    assert HEAD_BYTES == len(data)
    assert head == parse(data)
    assert not verify(data, KEY)


def test_no_byte_can_be_changed():
    """A head changed in any byte, or made under another key, does not verify."""
    data = pack(HEAD, KEY)
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            assert not verify(bytes(changed), KEY)
    assert not verify(data, Secret(bytes(32)))
    assert verify(data, KEY), "the control"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff" * HEAD_BYTES,
        b" " * (HEAD_BYTES - 1) + b"\n",
        pack(HEAD, KEY)[:-1],
        pack(HEAD, KEY) + b"\n",
        pack(HEAD, KEY).replace(b"head-1", b"head-2"),
        pack(HEAD, KEY).replace(b"0000000007", b"-000000007"),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_anything_else_is_none(data):
    """A torn or foreign record counts as none."""
    assert parse(data) is None
    assert not verify(data, KEY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": -1},
        {"seq": 10**20},
        {"file": "x.jsonl"},
        {"digest": "ab"},
        {"boot": "a b" + "c" * 29},
        {"key": None},
    ],
    ids=str,
)
def test_what_has_no_place_in_it_is_a_programming_error(wrong):
    """A value that a head cannot hold is a programming error and is not written."""
    with pytest.raises(ValueError, match="cannot be written in its form"):
        pack(HEAD._replace(**wrong), KEY)
