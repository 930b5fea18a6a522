"""Base64 in memory for secrets: standard text, without a copy elsewhere."""

import base64

from hypothesis import example, given
from hypothesis import strategies as st

from keylease.secrets import base64text
from keylease.secrets.memory import allocate


@given(st.binary(max_size=100))
@example(bytes(32))
@example(b"\xff" * 32)
def test_it_is_what_the_standard_library_writes(secret):
    """The text is standard base64, which any reader can decode."""
    assert base64.b64encode(secret) == base64text.encode(secret)


def test_it_is_in_the_memory_for_secrets(monkeypatch):
    """The text exists only in memory that can be cleared, and the input is unchanged."""
    rooms = []

    def spy(size):
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(base64text, "allocate", spy)
    secret = bytearray(b"hunter2")

    text = base64text.encode(secret)

    assert [text] == rooms
    assert not text.readonly
    assert b"hunter2" == secret
