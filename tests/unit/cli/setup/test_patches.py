"""A change is taken back to the byte, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.cli.setup.patches import (
    SPOILT,
    NoFitError,
    difference,
    packed,
    taken_back,
    unpacked,
    with_change,
)

_FILES = st.none() | st.text("ab\n\r", max_size=12).map(str.encode)


@given(before=_FILES, after=st.text("ab\nk", max_size=12).map(str.encode))
def test_a_change_is_taken_back(before, after):
    """Whatever the file was, it is that again, or the patch says that it does not fit."""
    patches = unpacked(packed([difference(before, after)]))

    try:
        assert before == taken_back(after, patches)
    except NoFitError:
        assert b"" == patches[0].new


def test_changes_are_taken_back_in_turn():
    """The last one first, as each was made of the one before."""
    first, second = b"a\nk=1\n", b"a\nk=1\nk=2\n"
    patches = [difference(b"a", first), difference(first, second)]

    assert b"a" == taken_back(second, patches)


def test_what_was_edited_elsewhere_stays():
    """A line that came later is there afterwards, too."""
    patch = difference(b"a", b"a\nk=1")

    assert b"a\nlater" == taken_back(b"a\nk=1\nlater", [patch])


@pytest.mark.parametrize("now", [b"a\nx=1\n", b"a\n", b"", None, b"before\na\nk=1\n"])
def test_what_was_edited_there_does_not_fit(now):
    """Nothing is guessed."""
    patch = difference(b"a\n", b"a\nk=1\n")

    with pytest.raises(NoFitError):
        taken_back(now, [patch])


def test_a_file_that_was_made_and_has_grown_is_not_removed():
    """It is somebody else's now, at least in part."""
    with pytest.raises(NoFitError):
        taken_back(b"k=1\nmore\n", [difference(None, b"k=1\n")])


def test_a_file_that_names_us_already_is_not_taken_for_how_it_was():
    """It may have come from another machine, with a line that is to go."""
    assert [SPOILT] == with_change([], b"x=/old/keylease-x\n", b"x=/new/keylease-x\n")


def test_a_change_upon_a_change_is_taken_back_with_it():
    """A second setup for another server is no reason to guess."""
    first, second = b"a\nkeylease 1", b"a\nkeylease 1\nkeylease 2"
    patches = with_change(with_change([], b"a", first), first, second)

    assert b"a" == taken_back(second, patches)


def test_a_change_that_was_never_carried_out_is_forgotten():
    """The file could not be written the first time."""
    patches = with_change(with_change([], b"a", b"a\nkeylease"), b"a", b"a\nkeylease")

    assert b"a" == taken_back(b"a\nkeylease", patches)


def test_what_is_spoilt_stays_so():
    """Where a login was moved out of the file, its bytes are not to come back."""
    assert [SPOILT] == with_change([SPOILT], b"keylease", b"keylease keylease")


@pytest.mark.parametrize("found", [None, 1, [1], [[0, "?", None]], [["a", "", ""]], [[0, 1, 2]]])
def test_a_broken_record_fits_nowhere(found):
    """Then the tool's own undo counts."""
    with pytest.raises(NoFitError):
        taken_back(b"x", unpacked(found))
