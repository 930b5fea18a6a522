"""The layout: unpacking returns what was packed, and foreign bytes are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import FUZZ

from keylease.errors import UnknownFormatError
from keylease.model import Credential, Moment, Target
from keylease.secrets.secret import Secret
from keylease.store.format import (
    HEADER_BYTES,
    MAC_BYTES,
    TOUCH_BYTES,
    Header,
    Label,
    Touch,
    length_prefixed,
    pack_credential,
    unpack_credential,
)

NAMES = st.binary(max_size=40).map(lambda name: name.decode("utf-8", "surrogateescape"))
MAYBE = st.none() | NAMES
BOOT = "0f" * 16
ID = "a1" * 16
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
MOMENTS = st.builds(Moment, U64, U64, st.binary(min_size=16, max_size=16).map(bytes.hex))
IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
DIGESTS = st.binary(min_size=32, max_size=32)
HEADERS = st.builds(
    Header, st.booleans(), IDS, U32, MOMENTS, U32, U32, DIGESTS, st.binary(min_size=16, max_size=16)
)
LABELS = st.builds(
    Label,
    st.builds(Target, NAMES, NAMES, NAMES, MAYBE),
    MAYBE,
    MAYBE,
    st.none() | U64,
    DIGESTS,
)
HEADER = Header(
    share=0, id=ID, generation=1, created=Moment(1, 2, BOOT), idle_seconds=3, cap_seconds=4
)
LABEL = Label(Target("web", "https", "h"), "bob", None, None, bytes(32))


@FUZZ
@given(HEADERS)
def test_a_header_comes_back_as_it_was(header):
    """A header survives unchanged, whatever follows it."""
    packed = header.pack()

    assert HEADER_BYTES == len(packed)
    assert header == Header.unpack(packed + b"boxes")


def test_records_have_the_documented_sizes():
    """Records have the sizes that programs in other languages rely on."""
    assert (114, 161, 32) == (HEADER_BYTES, TOUCH_BYTES, MAC_BYTES)


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (b"", "not a sealed file"),
        (HEADER.pack()[:-1], "not a sealed file"),
        (b"\x7fELF" + HEADER.pack()[4:], "not a sealed file"),
        (b"KLSF\x00" + HEADER.pack()[5:], r"version 0\.0, expected 1\.0 to 1\.3"),
        (b"KLSF\x02" + HEADER.pack()[5:], r"version 2\.0, expected 1\.0 to 1\.3"),
        (b"KLSF\x01\x04" + HEADER.pack()[6:], r"version 1\.4, expected 1\.0 to 1\.3"),
    ],
)
def test_what_is_no_header_is_refused(packed, told):
    """A file of another program or of a later version is refused, not guessed at."""
    with pytest.raises(UnknownFormatError, match=told):
        Header.unpack(packed)


@pytest.mark.parametrize(
    "wrong", ["", "ab", "ab" * 15, "ab" * 17, "../../../../etc/passwd", "xy" * 16]
)
def test_an_id_of_another_length_is_no_id(wrong):
    """An id that is too short is refused, not padded, so a sealed session can be found again."""
    with pytest.raises(ValueError, match="hexadecimal"):
        HEADER._replace(id=wrong).pack()
    with pytest.raises(ValueError, match="hexadecimal"):
        HEADER._replace(created=Moment(1, 2, wrong)).pack()
    with pytest.raises(ValueError, match="hexadecimal"):
        Touch(wrong, Moment(1, 2, BOOT), None, bytes(32), bytes(32)).pack()


@FUZZ
@given(LABELS)
def test_a_label_comes_back_as_it_was(label):
    """Names are bytes: invalid UTF-8 survives, and an absent name never becomes empty."""
    assert label == Label.unpack(label.pack())


@FUZZ
@given(LABELS, LABELS)
def test_two_labels_never_have_the_same_bytes(one, other):
    """Moving bytes from one field to the next changes the label."""
    assert (one == other) is (one.pack() == other.pack())


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_are_a_label_or_refused(packed):
    """Any bytes unpack to a label or are refused."""
    try:
        label = Label.unpack(packed)
    except UnknownFormatError:
        return
    assert packed == label.pack()


@FUZZ
@given(LABELS, st.data())
def test_a_label_with_a_hole_in_it_is_refused_or_another_label(label, data):
    """Removing bytes from a label never gives the same label."""
    packed = label.pack()
    start = data.draw(st.integers(0, len(packed) - 1))
    end = data.draw(st.integers(start + 1, len(packed)))
    try:
        found = Label.unpack(packed[:start] + packed[end:])
    except UnknownFormatError:
        return
    assert label != found


@pytest.mark.parametrize(
    "expires",
    [-1, 2**64],
)
def test_an_expiry_that_has_no_place_is_the_callers_mistake(expires):
    """A date that the format cannot hold is refused, not truncated."""
    with pytest.raises(ValueError, match="expiry"):
        LABEL._replace(expires=expires).pack()


@FUZZ
@given(st.binary(max_size=300), st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=4))
def test_a_credential_comes_back_as_it_was(secret, fields):
    """Every byte of a secret survives: NUL, line ends, invalid UTF-8."""
    label = LABEL._replace(username="bob", authtype="Basic", expires=7)
    held = Credential(
        "bob", Secret(secret), "Basic", 7, tuple((name, Secret(value)) for name, value in fields)
    )
    found = unpack_credential(pack_credential(held), label)

    assert secret == bytes(found.secret.reveal())
    assert fields == [(name, bytes(value.reveal())) for name, value in found.fields]
    assert ("bob", "Basic", 7) == (found.username, found.authtype, found.expires)


def test_unpacking_a_credential_wipes_what_it_was_in():
    """The decrypted plaintext is wiped once the secret has its own buffer."""
    packed = pack_credential(Credential("bob", Secret(b"hunter2")))
    assert b"hunter2" in bytes(packed)
    unpack_credential(packed, LABEL)

    assert bytes(len(packed)) == packed


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x01\0\0\0\x08hunter2",
        b"\x01\0\0\0\x07hunter2\x02",
        b"\x02\0\0\0\x07hunter2",
        b"\x01\0\0\0\x07hunter2\x01\0\0\0\x01x",
        b"\x01\0\0\0\x07hunter2\x02\0\0\0\x01x",
        b"\x01\0\0\0\x07hunter2\x03\0\0\0\x01x\x02\0\0\0\x01x",
        b"\x01\0\0\0\x07hunter2\x09\0\0\0\x01x",
    ],
)
def test_what_is_no_credential_is_refused_and_wiped(wrong):
    """A refusal wipes the plaintext, too, and does not show it."""
    packed = bytearray(wrong)
    with pytest.raises(UnknownFormatError) as caught:
        unpack_credential(packed, LABEL)

    assert bytes(len(wrong)) == packed
    assert "hunter2" not in str(caught.value)


@FUZZ
@given(IDS, MOMENTS, st.none() | st.tuples(U64, U64), DIGESTS, DIGESTS)
def test_a_touch_record_comes_back_as_it_was(session, used, released, digest, echo):
    """Last use and last release survive, and a release that never happened is not the epoch."""
    moment = Moment(*released, used.boot) if released and any(released) else None
    touch = Touch(session, used, moment, digest, echo)
    packed = touch.pack()

    assert TOUCH_BYTES == len(packed) + MAC_BYTES
    assert touch == Touch.unpack(packed)


def test_a_release_at_the_epoch_is_a_release():
    """A release with the wall clock at 1970 is still remembered."""
    touch = Touch(ID, Moment(0, 99, BOOT), Moment(0, 99, BOOT), bytes(32), bytes(32))

    assert touch == Touch.unpack(touch.pack())


def test_a_touch_record_of_another_version_is_refused():
    """An earlier or later version is refused, not guessed at."""
    packed = Touch(ID, Moment(1, 2, BOOT), None, bytes(32), bytes(32)).pack()

    for version in (1, 3):
        with pytest.raises(UnknownFormatError, match=f"version {version}, expected 2"):
            Touch.unpack(bytes([version]) + packed[1:])


@FUZZ
@given(st.lists(st.none() | st.binary(max_size=8)), st.lists(st.none() | st.binary(max_size=8)))
def test_two_lists_of_parts_never_give_the_same_bytes(one, other):
    """A host `ab` with no user is not a host `a` with a user `b`."""
    same = b"".join(length_prefixed(one)) == b"".join(length_prefixed(other))

    assert (one == other) is same
