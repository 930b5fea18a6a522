"""Without a volatile store there is no share, and the store says so."""

from keylease.shares.policy import PolicyShares


def test_there_is_no_share():
    """The session key depends on the vault key alone, and `status` can say so."""
    shares = PolicyShares()

    assert shares.create("ab" * 16, 900) is None
    assert shares.read("ab" * 16) is None
    assert not shares.erases


def test_prolonging_and_destroying_nothing_is_no_error():
    """Prolonging and destroying work without shares, so callers need no special case."""
    shares = PolicyShares()
    shares.prolong("ab" * 16, 900)
    shares.destroy("ab" * 16)

    assert shares.read("ab" * 16) is None
