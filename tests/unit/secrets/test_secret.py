"""A secret does not print, does not travel, and can be wiped."""

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
    """Whatever text is made of a secret, neither its bytes nor their number is in it."""
    shown = show(Secret(NEEDLE))

    assert "Secret(...)" in shown
    assert NEEDLE.decode() not in shown
    assert show(Secret(b"")) == shown
    assert NEEDLE.decode() in show(NEEDLE.decode()) + repr(NEEDLE), "the control finds it"


def test_a_traceback_shows_no_secret():
    """An exception that carries a secret tells nothing when it is printed with its locals."""
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
    """What would copy a secret or compare it carelessly is refused, and the refusal is silent."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        attempt(Secret(NEEDLE))

    assert NEEDLE.decode() not in str(caught.value)


def test_reveal_is_the_way_out():
    """The bytes are there for who asks for them by name."""
    assert NEEDLE == bytes(Secret(NEEDLE).reveal())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_secret_is_a_copy_of_its_own(make):
    """Wiping what a secret was made from leaves the secret, and the other way round."""
    source = bytearray(NEEDLE)
    secret = Secret(make(source))
    secure_clear(source)

    assert NEEDLE == bytes(secret.reveal())


@pytest.mark.parametrize("wrong", [5, "text", None, 1.5, ["a"]])
def test_only_bytes_become_a_secret(wrong):
    """A number is not taken for that many zeros, and a text is not encoded by a guess."""
    with pytest.raises(TypeError):
        Secret(wrong)
    gc.collect()  # a half-made secret that cannot be wiped would be reported here


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
    """Only the very same bytes match."""
    assert same is Secret(NEEDLE).matches(Secret(other))
    assert same is Secret(other).matches(Secret(NEEDLE))


def test_wiping_overwrites_in_place():
    """The buffer itself is zeros afterwards, not another one."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    secret.wipe()

    assert bytes(len(NEEDLE)) == bytes(view)


def test_leaving_the_block_wipes_even_on_an_error():
    """Whoever opens a secret with `with` cannot forget to wipe it."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    assert NEEDLE == bytes(view)
    with pytest.raises(ZeroDivisionError), secret:
        divmod(1, 0)

    assert bytes(len(NEEDLE)) == bytes(view)


def test_a_forgotten_secret_is_wiped():
    """The buffer of a secret that nobody holds any more is zeros."""
    secret = Secret(NEEDLE)
    view = secret.reveal()
    assert NEEDLE == bytes(view)
    del secret
    gc.collect()

    assert bytes(len(NEEDLE)) == bytes(view)


def test_a_secret_for_which_there_is_no_memory_says_only_that():
    """The error is the system's own, and none of a half-made secret follows it."""
    with pytest.raises(MemoryError):
        Secret.random(1 << 60)
    Secret.__new__(Secret)
    gc.collect()  # what cannot be wiped would be reported here


def test_an_empty_secret_is_false():
    """A password that is there can be told from one that is empty."""
    assert not Secret(b"")
    assert Secret(b"\0")


def test_random_bytes_are_as_many_as_asked_for_and_never_the_same():
    """Keys, salts and nonces have their full length, and no two are equal."""
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
    """A short key is never made up to length."""
    monkeypatch.setattr(secret_module.os, "urandom", source)

    with pytest.raises(StateError, match=told):
        random_bytes(16)


@pytest.mark.parametrize("failure", [OSError(5, "no entropy"), NotImplementedError("no source")])
def test_a_generator_that_fails_is_refused(monkeypatch, failure):
    """There is no second source of randomness, and the refusal is one of ours."""

    def fail(_length):
        raise failure

    monkeypatch.setattr(os, "urandom", fail)

    with pytest.raises(StateError, match="random generator"):
        random_bytes(16)
