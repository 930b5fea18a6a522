"""How messages show names from untrusted sources."""

import unicodedata

import pytest

from keylease.errors import is_visible, printable

# Unicode, DerivedCoreProperties: Default_Ignorable_Code_Point, without the unassigned ones.
IGNORABLE = [
    *"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u200b\u200c\u200d\u200e",
    *"\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2064\u2066\u206f\u3164\ufe00\ufe0f\ufeff\uffa0\U0001bca0",
    *"\U0001d173\U0001d17a\U000e0001\U000e0041\U000e0100\U000e01ef",
]


@pytest.mark.parametrize("character", IGNORABLE)
def test_what_is_drawn_as_nothing_is_told(character):
    """Invisible characters are escaped, so that two hosts cannot look alike."""
    assert not is_visible(character), unicodedata.name(character)
    shown = printable(f"git{character}.example")
    assert shown.isascii()
    assert len("git.example") < len(shown)


@pytest.mark.parametrize(
    "text", ["git.example", "stra\u00dfe.example", "\u2603", "\ud55c\uae00", "a b"]
)
def test_what_is_drawn_stays(text):
    """Names in any script are shown unchanged."""
    assert text == printable(text)


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f", "\x9b", "\u2028", "\udcff"])
def test_what_a_terminal_might_obey_is_told(character):
    """No control character, line end or half a surrogate pair reaches a terminal."""
    assert printable(character).isascii()
    assert printable(character).isprintable()
