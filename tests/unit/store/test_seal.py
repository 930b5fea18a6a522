"""Sealing: a session opens under the right keys only, and every vector behaves as declared."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import FUZZ
from vectors import generate
from vectors.generate import HEADER, SHARE, TARGET, VAULT_KEY, keys, make_label

from keylease import errors
from keylease.errors import TamperedError, UnknownFormatError, WrongKeyError
from keylease.model import Credential, Moment, Target
from keylease.secrets.secret import Secret
from keylease.store import seal
from keylease.store.format import HEADER_BYTES, Touch

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "seal").glob("*.json"))
SECRET = b"correct horse battery staple"
TOUCH = Touch("ab" * 16, Moment(1, 2, "cd" * 16), Moment(3, 4, "cd" * 16), bytes(32), bytes(32))


def sealed_with(secret=SECRET, *, shared=False, fields=(), target=TARGET):
    """Return a sealed file."""
    held = Credential("alice", Secret(secret), fields=fields)
    header = HEADER._replace(share=int(shared))
    return seal.seal(keys(shared=shared), header, make_label(target, held), held)


def load(path):
    """Return the vector, its keys and its bytes."""
    vector = json.loads(path.read_text("ascii"))
    share = vector["share"] and Secret(bytes.fromhex(vector["share"]))
    read = seal.Keys(Secret(bytes.fromhex(vector["vault_key"])), share)
    return vector, read, bytes.fromhex(vector["sealed"])


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector_opens_or_is_refused_as_declared(path):
    """Each vector is refused at its step with the class that the document declares."""
    vector, read, sealed = load(path)
    if "opens" in vector:
        opened = seal.open_label(read, sealed)
        held = seal.open_credential(read, opened)
        assert vector["opens"]["secret"] == bytes(held.secret.reveal()).hex()
        assert vector["bucket"] == seal.bucket(read.vault, opened.label.target)
        return
    refused = getattr(errors, vector["refused"]["as"])
    if vector["refused"]["by"] == "open_label":
        with pytest.raises(errors.SealError) as caught:
            seal.open_label(read, sealed)
    else:
        opened = seal.open_label(read, sealed)
        with pytest.raises(errors.SealError) as caught:
            seal.open_credential(read, opened)
    assert refused is type(caught.value)


def test_vectors_are_those_that_the_script_makes():
    """The script beside the vectors makes the same vectors again."""
    expected = {name: generate.text(vector) for name, vector in generate.vectors().items()}

    assert expected == {path.stem: path.read_text("ascii") for path in VECTORS}


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_sealed_comes_back(shared):
    """Header, label, secret and extra fields come back unchanged."""
    fields = (("oauth_refresh_token", Secret(b"refresh\nme\0")),)
    sealed = sealed_with(shared=shared, fields=fields)
    opened = seal.open_label(keys(shared=shared), sealed)
    held = seal.open_credential(keys(shared=shared), opened)

    assert make_label() == opened.label
    assert HEADER._replace(
        share=int(shared), salt=opened.header.salt, commitment=opened.header.commitment
    ) == (opened.header)
    assert SECRET == bytes(held.secret.reveal())
    assert b"refresh\nme\0" == bytes(held.field("oauth_refresh_token").reveal())


def test_the_file_shows_no_name_and_no_secret():
    """The file shows when the session was made, but not for which host or user."""
    sealed = sealed_with()

    for needle in (SECRET, b"alice", b"example.com", b"https", b"team", b"web"):
        assert needle not in sealed
    assert (
        HEADER.pack()[: HEADER_BYTES - 48] == sealed[: HEADER_BYTES - 48]
    ), "the control: it is open"


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 65_535, 1 << 20])
def test_a_secret_of_any_length_is_sealed(length):
    """Every length up to git's longest request can be sealed."""
    secret = bytes(length)
    opened = seal.open_label(keys(shared=False), sealed_with(secret))

    assert secret == bytes(seal.open_credential(keys(shared=False), opened).secret.reveal())


@pytest.mark.parametrize("fields", [(), (("refresh", Secret(b"token")), ("", Secret(b"")))])
def test_the_length_of_a_sealed_file_is_known_before(fields):
    """The length is known exactly in advance, so a secret that is too long is refused first."""
    held = Credential("alice", Secret(SECRET), fields=fields)

    assert seal.sealed_bytes(make_label(TARGET, held), held) == len(sealed_with(fields=fields))


def test_opening_the_label_does_not_decrypt_the_credential(monkeypatch):
    """Opening a session's label decrypts once and does not touch the secret."""
    seen = []
    unbox = seal._unbox
    monkeypatch.setattr(
        seal, "_unbox", lambda *args: seen.append(bytes(plain := unbox(*args))) or plain
    )
    sealed = sealed_with()
    opened = seal.open_label(keys(shared=False), sealed)

    assert [make_label().pack()] == seen
    seal.open_credential(keys(shared=False), opened)
    assert SECRET in seen[-1], "the control: the spy sees the credential when it is opened"


@pytest.mark.parametrize("shared", [False, True])
def test_header_cannot_lie_about_the_share(shared):
    """A header that disagrees with the key about the share is not sealed."""
    held = Credential("alice", Secret(SECRET))
    header = HEADER._replace(share=int(not shared))

    with pytest.raises(ValueError, match="share"):
        seal.seal(keys(shared=shared), header, make_label(), held)


def test_sealing_leaves_the_caller_its_secret():
    """Sealing does not wipe the secret; its owner still uses it."""
    held = Credential("alice", Secret(SECRET))
    read = keys(shared=True)
    seal.seal(read, HEADER._replace(share=1), make_label(), held)

    assert SECRET == bytes(held.secret.reveal())
    assert VAULT_KEY == bytes(read.vault.reveal())
    assert SHARE == bytes(read.share.reveal())


@pytest.mark.parametrize(
    "wrong",
    [
        seal.Keys(Secret(bytes(32))),
        seal.Keys(Secret(b"")),
        seal.Keys(Secret(b"short")),
        seal.Keys(Secret(VAULT_KEY + SHARE)),
        seal.Keys(Secret(VAULT_KEY), Secret(bytes(32))),
        seal.Keys(Secret(VAULT_KEY), Secret(b"")),
    ],
    ids=["wiped", "empty", "short", "long", "share wiped", "share empty"],
)
def test_a_wiped_or_short_key_is_never_used(wrong):
    """A wiped or short key is refused, because its value would be known."""
    held = Credential("alice", Secret(SECRET))
    header = HEADER._replace(share=0 if wrong.share is None else 1)
    with pytest.raises(ValueError, match="wiped"):
        seal.seal(wrong, header, make_label(), held)
    with pytest.raises(ValueError, match="wiped"):
        seal.open_label(wrong, sealed_with())


def test_every_purpose_has_its_own_key():
    """The name of a bucket reveals nothing about a session key."""
    purposes = ("commitment", "label", "credential", "bucket", "touch", "echo")
    derived = {bytes(seal._derive(keys(shared=False), purpose)) for purpose in purposes}
    derived |= {bytes(seal._derive(keys(shared=True), purpose)) for purpose in purposes}

    assert 2 * len(purposes) == len(derived)


def test_derivation_is_hkdf_of_the_rfc():
    """RFC 5869, written out here, gives the same key."""
    material, salt, header = VAULT_KEY + SHARE, b"s" * 32, b"h" * 5
    info = b"keylease sealed file 1: label\0" + header
    extracted = hmac.digest(salt, material, "sha256")

    expected = hmac.digest(extracted, info + b"\1", "sha256")
    assert expected == seal._derive(keys(shared=True), "label", salt, header)


NAMES = st.text(max_size=12)


@FUZZ
@given(st.builds(Target, NAMES, NAMES, NAMES), st.builds(Target, NAMES, NAMES, NAMES))
def test_two_hosts_share_no_bucket(one, other):
    """Moving bytes between the parts of a name changes the bucket: `a` `bc` is not `ab` `c`."""
    vault = Secret(VAULT_KEY)

    assert (one[:3] == other[:3]) is (seal.bucket(vault, one) == seal.bucket(vault, other))


def test_a_bucket_is_a_name_for_a_directory_and_hangs_on_the_key():
    """A bucket's name shows no host, differs for each vault, and does not depend on the path."""
    name = seal.bucket(Secret(VAULT_KEY), TARGET)

    assert 16 == len(bytes.fromhex(name))
    assert name == seal.bucket(Secret(VAULT_KEY), TARGET._replace(path=None))
    assert name != seal.bucket(Secret(SHARE), TARGET)


@pytest.mark.parametrize(
    "change",
    [
        {"target": TARGET._replace(namespace="docker")},
        {"target": TARGET._replace(protocol="http")},
        {"target": TARGET._replace(host="example.com")},
        {"username": None},
        {"username": ""},
        {"username": "Alice"},
        {"secret": SECRET + b"\0"},
        {"secret": b""},
        {"vault": SHARE},
    ],
    ids=repr,
)
def test_an_echo_is_of_one_secret_user_and_target(change):
    """An echo matches only the same secret, user and target."""

    def echo(vault=VAULT_KEY, target=TARGET, username="alice", secret=SECRET):
        return seal.echo(Secret(vault), target, username, Secret(secret))

    assert echo() == echo()
    assert echo() == echo(target=TARGET._replace(path=None)), "git asks without a path"
    assert echo() != echo(**change)


def test_a_touch_record_comes_back_under_the_vault_key_alone():
    """Without the share the touch record still opens, so the end's reason can be told."""
    record = seal.mac_touch(Secret(VAULT_KEY), TOUCH)

    assert TOUCH == seal.check_touch(Secret(VAULT_KEY), record)


def test_a_touch_record_with_any_bit_flipped_is_refused():
    """A forged touch record cannot make a session younger."""
    record = seal.mac_touch(Secret(VAULT_KEY), TOUCH)
    for bit in range(8 * len(record)):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TamperedError):
            seal.check_touch(Secret(VAULT_KEY), bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 160, 162, 1000])
def test_a_touch_record_of_another_length_is_refused(length):
    """A touch record that was cut off or extended is refused."""
    record = seal.mac_touch(Secret(VAULT_KEY), TOUCH)
    with pytest.raises(TamperedError):
        seal.check_touch(Secret(VAULT_KEY), (record * 7)[:length])


def test_a_touch_record_of_another_vault_is_refused():
    """A touch record of another user's vault or of a former generation is refused."""
    with pytest.raises(TamperedError):
        seal.check_touch(Secret(SHARE), seal.mac_touch(Secret(VAULT_KEY), TOUCH))


def test_a_touch_record_of_a_later_version_is_refused():
    """A touch record of a later version is refused, even with a valid MAC."""
    packed = b"\x01" + TOUCH.pack()[1:]
    record = packed + seal._mac(Secret(VAULT_KEY), "touch", packed)

    with pytest.raises(UnknownFormatError):
        seal.check_touch(Secret(VAULT_KEY), record)


def test_the_header_digest_is_of_the_header_alone():
    """A touch record authenticates one header and not the boxes."""
    sealed = sealed_with()

    assert hashlib.sha256(sealed[:HEADER_BYTES]).digest() == seal.header_digest(sealed)
    assert seal.header_digest(sealed) == seal.header_digest(sealed[:HEADER_BYTES])


def test_refusals_tell_no_secret_and_have_a_hint():
    """Every refusal has a hint and shows no secret."""
    sealed = sealed_with()
    for kind, changed in ((WrongKeyError, 70), (TamperedError, 10), (UnknownFormatError, 0)):
        with pytest.raises(kind) as caught:
            seal.open_label(keys(shared=False), generate.flip(sealed, changed))
        assert "keylease login" in caught.value.hint
        assert caught.value.__cause__ is None
