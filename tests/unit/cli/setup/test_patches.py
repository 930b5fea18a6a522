"""A change is taken back to the byte, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.cli.setup.patches import (
    SPOILT,
    NoFitError,
    Patch,
    carried_out,
    differences,
    lean,
    packed,
    taken_back,
    unpacked,
    with_change,
)

_FILES = st.none() | st.text("ab\n\r", max_size=12).map(str.encode)


@given(before=_FILES, after=st.text("ab\nk", max_size=12).map(str.encode))
def test_a_change_is_taken_back(before, after):
    """Whatever the file was, it is that again, or the patch says that it does not fit."""
    patches = unpacked(packed(differences(before, after)))

    try:
        assert before == taken_back(after, patches)
    except NoFitError:
        assert b"" in [patch.new for patch in patches]


def test_changes_are_taken_back_in_turn():
    """The last one first, as each was made of the one before."""
    first, second = b"a\nk=1\n", b"a\nk=1\nk=2\n"
    patches = [*differences(b"a", first), *differences(first, second)]

    assert b"a" == taken_back(second, patches)


def test_what_was_edited_elsewhere_stays():
    """A line that came later is there afterwards, too."""
    patches = differences(b"a\n", b"a\nk=1\n")

    assert b"a\nlater" == taken_back(b"a\nk=1\nlater", patches)


@pytest.mark.parametrize("now", [b"a\nx=1\n", b"a\n", b"", None, b"before\na\nk=1\n"])
def test_what_was_edited_there_does_not_fit(now):
    """Nothing is guessed."""
    patches = differences(b"a\n", b"a\nk=1\n")

    with pytest.raises(NoFitError):
        taken_back(now, patches)


def test_a_file_that_was_made_and_has_grown_is_not_removed():
    """A file that setup made and the user extended is not removed."""
    with pytest.raises(NoFitError):
        taken_back(b"k=1\nmore\n", differences(None, b"k=1\n"))


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


def test_what_stands_between_two_edits_is_in_no_patch():
    """It is the user's, and may be a secret. The control: both edits are there."""
    before = b"[a]\nsecret = hunter2\n[b]\n"
    after = b"[a]\nk = keylease 1\nsecret = hunter2\n[b]\nk = keylease 2\n"

    patches = with_change([], before, after)

    assert [b"k = keylease 1\n", b"k = keylease 2\n"] == [patch.new for patch in patches]
    assert [b"", b""] == [patch.old for patch in patches]
    assert before == taken_back(after, patches)


@pytest.mark.parametrize("line", [b"k = tool --key hunter2", b"k = [\n  1, # hunter2\n]"])
def test_a_line_that_becomes_a_comment_is_in_no_patch(line):
    """Only what was put before it is."""
    before = b"[a]\n" + line + b"\n"
    commented = b"".join(b"# kept: " + each for each in before[4:].splitlines(keepends=True))
    after = b"[a]\nk = keylease\n" + commented

    patches = with_change([], before, after)

    assert b"hunter2" not in b"".join(patch.new + (patch.old or b"") for patch in patches)
    assert before == taken_back(after, patches)


def test_a_secret_that_is_replaced_is_not_recorded():
    """Then the tool's own undo counts. A name that is known to be none may be recorded."""
    before, after = b'{"a": "pass"}', b'{"a": "keylease"}'

    assert [SPOILT] == with_change([], before, after)
    assert before == taken_back(after, with_change([], before, after, [b"pass"]))


def test_a_patch_of_an_earlier_version_is_split():
    """It spanned from the first to the last changed byte, with the secret in between."""
    old, new = b"hunter2\n[b]\n", b"k = keylease 1\nhunter2\n[b]\nk = keylease 2\n"

    patches = lean([Patch(4, new, old)], [])

    assert [Patch(4, b"k = keylease 1\n", b""), Patch(31, b"k = keylease 2\n", b"")] == patches
    assert patches == lean(patches, [])
    assert b"[a]\n" + old == taken_back(b"[a]\n" + new, patches)


def test_a_patch_of_an_earlier_version_that_replaced_a_secret_is_forgotten():
    """The removed text is not recorded."""
    assert [SPOILT] == lean([Patch(0, b"k = keylease", b"k = tool hunter2")], [])


def test_a_setup_that_was_killed_is_undone_to_what_was_before():
    """The second one was recorded and not carried out."""
    first = b"a\nkeylease 1\n"
    patches = with_change([], b"a\n", first)
    both = with_change(patches, first, first + b"keylease 2\n")

    assert patches == carried_out(first, both)
    assert both == with_change(both, first, first + b"keylease 2\n")


def test_a_line_of_ours_that_was_moved_is_no_reason_to_forget_it():
    """The patch of the first setup fits, but the line of the second is still there."""
    first = b"a\nkeylease 1\n"
    both = with_change(with_change([], b"a\n", first), first, first + b"keylease 2\n")

    assert () == carried_out(first + b"b\nkeylease 2\n", both)


def test_many_lines_are_compared_in_no_time():
    """The record is not exact then, and nothing waits."""
    lines = b"x\n" * 100_000

    assert [SPOILT] == differences(lines, b"k\n" + lines + b"k\n")
