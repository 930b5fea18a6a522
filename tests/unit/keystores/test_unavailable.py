"""A keychain that cannot be used refuses every call with the reason."""

from __future__ import annotations

import pytest

from keylease.errors import KeychainMissingError, KeychainUnavailableError
from keylease.keystores.base import Item
from keylease.keystores.unavailable import UnavailableKeyStore
from keylease.secrets.secret import Secret

ITEM = Item("0123456789abcdef", "session-key", 1)
CALLS = {
    "instance": lambda store: store.instance(),
    "probe": lambda store: store.probe(),
    "read": lambda store: store.read([ITEM]),
    "read nothing": lambda store: store.read([]),
    "add": lambda store: store.add(ITEM, Secret(bytes(32))),
    "delete": lambda store: store.delete(ITEM),
    "removal_command": lambda store: store.removal_command(ITEM),
}


@pytest.mark.parametrize("kind", [KeychainUnavailableError, KeychainMissingError])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_refuses_with_the_reason(call, kind):
    """Every call refuses; no key is ever absent, which would end its session."""
    store = UnavailableKeyStore("kernel", "no keys today", kind, "come back tomorrow")

    for _ in range(2):
        with pytest.raises(KeychainUnavailableError) as caught:
            call(store)
        assert kind is type(caught.value)
        assert "no keys today" == str(caught.value)
        assert "come back tomorrow" == caught.value.hint


def test_without_a_hint_it_gives_that_of_the_error():
    """Without a hint of its own it gives the error's, so there is always a next step."""
    with pytest.raises(KeychainUnavailableError) as caught:
        UnavailableKeyStore("kernel", "no keys today").probe()

    assert KeychainUnavailableError.hint == caught.value.hint


def test_it_keeps_the_name_of_what_should_have_been_there():
    """It keeps the name of the real keychain, so a vault stays pinned to it."""
    assert "kernel" == UnavailableKeyStore("kernel", "no keys today").name
