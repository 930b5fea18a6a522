"""The names of items, which are public: people and tools search by them."""

from __future__ import annotations

import pytest

from keylease.keystores.base import Item


@pytest.mark.parametrize(
    ("item", "service"),
    [
        (Item("0123456789abcdef", "session-key", 1), "keylease:0123456789abcdef:session-key.1"),
        (Item("0123456789abcdef", "audit-key", 12), "keylease:0123456789abcdef:audit-key.12"),
    ],
)
def test_the_service_name_is_vault_kind_and_generation(item, service):
    """A key made by any version is found by every later one."""
    assert service == item.service


def test_a_label_says_what_deleting_the_item_does():
    """The two keys are not taken for each other in a keychain's window."""
    session = Item("0123456789abcdef", "session-key", 1)

    assert "delete it to end every session" in session.label
    assert "keep it" in session._replace(kind="audit-key").label
