"""The names of items are stable, since people and tools search by them."""

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
    """The service name is vault, kind and generation, so later versions find every key."""
    assert service == item.service


def test_a_label_says_what_deleting_the_item_does():
    """The label says what deleting the item does, so the two keys are not confused."""
    session = Item("0123456789abcdef", "session-key", 1)

    assert "delete it to end every session" in session.label
    assert "keep it" in session._replace(kind="audit-key").label
