"""The two runs of CI divide some samples between them, and together they try everything."""

import re
from pathlib import Path

import pytest
from support.share import VARIABLE, part_of

SCRIPT = Path(__file__).parent.parent / ".ci" / "run"


def test_a_person_tries_everything(monkeypatch):
    """`make test` leaves nothing to another run."""
    monkeypatch.delenv(VARIABLE, raising=False)

    assert [1, 2, 3] == part_of([1, 2, 3])


def test_the_runs_of_ci_try_everything_together(monkeypatch):
    """Each run of the script names a part, no two the same, and no part is missing."""
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
    """A misspelt variable makes no run that tries nothing and is green."""
    monkeypatch.setenv(VARIABLE, said)

    with pytest.raises(ValueError, match="write 1/2"):
        part_of([1, 2, 3])
