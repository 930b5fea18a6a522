"""The two runs of CI divide some samples and together try all of them."""

import re
from pathlib import Path

import pytest
from support.share import VARIABLE, part_of

SCRIPT = Path(__file__).parent.parent / ".ci" / "run"


def test_a_person_tries_everything(monkeypatch):
    """`make test` tries all samples."""
    monkeypatch.delenv(VARIABLE, raising=False)

    assert [1, 2, 3] == part_of([1, 2, 3])


def test_the_runs_of_ci_try_everything_together(monkeypatch):
    """Each run of the CI script tries a different part, and no part is missing."""
    shares = re.findall(r"^\w*=(\d/\d)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    tried = []
    for share in shares:
        monkeypatch.setenv(VARIABLE, share)
        tried.append(part_of("abcdefg"))

    assert 2 == len(shares), "root and an ordinary user"
    assert list("abcdefg") == sorted(one for part in tried for one in part)
    assert all(tried)


@pytest.mark.parametrize("said", ["", "0/2", "3/2", "1", "half", "1/2 "])
def test_a_part_that_is_none_is_an_error(monkeypatch, said):
    """A misspelt part is an error, not a run that tries nothing and passes."""
    monkeypatch.setenv(VARIABLE, said)

    with pytest.raises(ValueError, match="write 1/2"):
        part_of([1, 2, 3])
