"""A secret is never printed or copied, and can be wiped."""

import copy
import gc
import json
import os
import pickle
import traceback
import weakref

import pytest

from keylease.errors import StateError
from keylease.model import Credential
from keylease.secrets import secret as secret_module
from keylease.secrets.memory import secure_clear
from keylease.secrets.secret import Secret, random_bytes

NEEDLE = b"needle-6c0d"


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        format,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!r:>40}",
        lambda secret: "%s" % secret,  # noqa: UP031 - the old way has to be silent as well
        lambda secret: repr(Credential("bob", secret, fields=(("token", secret),))),
    ],
)
def test_a_secret_never_prints(show):
    """No text form of a secret shows its bytes or its length."""
    shown = show(Secret(NEEDLE))

    assert "Secret(...)" in shown
    assert NEEDLE.decode() not in shown
    assert show(Secret(b"")) == shown
    assert NEEDLE.decode() in show(NEEDLE.decode()) + repr(NEEDLE), "the control finds it"


def test_a_traceback_shows_no_secret():
    """A traceback with local variables shows no secret."""
    secret, plain = Secret(NEEDLE), "control-6c0d"
    with pytest.raises(KeyError) as caught:
        {}[secret.reveal, plain]

    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    told = "".join(found.format())
    assert NEEDLE.decode() not in told
    assert "Secret(...)" in told
    assert plain in told, "the control finds it"


@pytest.mark.parametrize(
    "attempt",
    [
        lambda secret: secret == Secret(NEEDLE),
        lambda secret: secret == NEEDLE,
        lambda secret: secret != None,  # noqa: E711 - a comparison, on purpose
        hash,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        json.dumps,
        bytes,
        len,
        list,
        lambda secret: secret + b"",
        lambda secret: NEEDLE in secret,
        lambda secret: setattr(secret, "note", NEEDLE),
        vars,
        lambda secret: secret.__getstate__(),
        lambda secret: object.__reduce_ex__(secret, 2),
        lambda secret: copy.deepcopy([type("Own", (Secret,), {})(secret.reveal())]),
        weakref.ref,
    ],
)
def test_a_secret_cannot_be_compared_copied_or_spread(attempt):
    """Copying or comparing a secret carelessly is refused without showing it."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        attempt(Secret(NEEDLE))

    assert NEEDLE.decode() not in str(caught.value)


def test_reveal_is_the_way_out():
    """`reveal` returns the bytes."""
    assert NEEDLE == bytes(Secret(NEEDLE).reveal())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_secret_is_a_copy_of_its_own(make):
    """Wiping the source leaves the secret, and wiping the secret leaves the source."""
    source = bytearray(NEEDLE)
    secret = Secret(make(source))
    secure_clear(source)

    assert NEEDLE == bytes(secret.reveal())


@pytest.mark.parametrize("wrong", [5, "text", None, 1.5, ["a"]])
def test_only_bytes_become_a_secret(wrong):
    """A number is not taken for that many zeros, and a text is not encoded by guess."""
    with pytest.raises(TypeError):
        Secret(wrong)
    gc.collect()  # reports a half-made secret that cannot be wiped


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (NEEDLE, True),
        (NEEDLE[:-1], False),
        (NEEDLE + b"\0", False),
        (b"", False),
        (b"x" * 11, False),
    ],
)
def test_matches_compares_every_byte(other, same):
    """Only identical bytes match."""
    assert same is Secret(NEEDLE).matches(Secret(other))
    assert same is Secret(other).matches(Secret(NEEDLE))


def test_wiping_overwrites_in_place():
    """Wiping zeros the secret's own buffer."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    secret.wipe()

    assert bytes(len(NEEDLE)) == bytes(view)


def test_leaving_the_block_wipes_even_on_an_error():
    """Leaving a `with` block wipes the secret even after an error."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    assert NEEDLE == bytes(view)
    with pytest.raises(ZeroDivisionError), secret:
        divmod(1, 0)

    assert bytes(len(NEEDLE)) == bytes(view)


def test_a_forgotten_secret_is_wiped():
    """A secret without references is wiped."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    assert NEEDLE == bytes(view)
    del secret
    gc.collect()

    assert bytes(len(NEEDLE)) == bytes(view)


def test_a_secret_for_which_there_is_no_memory_says_only_that():
    """Without memory the only error is the system's own."""
    with pytest.raises(MemoryError):
        Secret.random(1 << 60)
    Secret.__new__(Secret)
    gc.collect()  # reports what cannot be wiped


def test_an_empty_secret_is_false():
    """An empty secret is false."""
    assert not Secret(b"")
    assert Secret(b"\0")


def test_random_bytes_are_as_many_as_asked_for_and_never_the_same():
    """Random secrets have the full length, and no two are equal."""
    drawn = {random_bytes(32) for _ in range(1000)}

    assert 1000 == len(drawn)
    assert {32} == {len(each) for each in drawn}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (lambda length: bytes(length - 1), "15 bytes, expected 16"),
        (lambda _: b"", "0 bytes, expected 16"),
        (lambda length: bytes(length + 1), "17 bytes, expected 16"),
    ],
)
def test_a_generator_that_gives_too_few_is_refused(monkeypatch, source, told):
    """A generator that returns too few bytes is refused, and the key is not padded."""
    monkeypatch.setattr(secret_module.os, "urandom", source)

    with pytest.raises(StateError, match=told):
        random_bytes(16)


@pytest.mark.parametrize("failure", [OSError(5, "no entropy"), NotImplementedError("no source")])
def test_a_generator_that_fails_is_refused(monkeypatch, failure):
    """A failing generator gives our own error, and no second source is used."""

    def fail(_length):
        raise failure

    monkeypatch.setattr(os, "urandom", fail)

    with pytest.raises(StateError, match="random generator"):
        random_bytes(16)
