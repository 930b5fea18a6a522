"""Attacks on sealed files: every bit, every length, every exchange, and keys that collide.

The expected outcome is always a refusal of the class that docs/format.md declares, before any
plaintext is returned. `KEYLEASE_FUZZ_EXAMPLES` sets how many files are sealed in search of a
repeated nonce.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.fuzz import EXAMPLES
from support.rig import EXAMPLE, PASSWORD, Rig, bring, text
from support.shares import MemoryShares
from vectors.generate import (
    HEADER,
    TARGET,
    VAULT_KEY,
    fixed,
    flip,
    keys,
    label_start,
    make,
    make_label,
)

from keylease import errors
from keylease.errors import (
    SealError,
    SessionNotFoundError,
    StateError,
    TamperedError,
    WrongKeyError,
)
from keylease.model import Credential
from keylease.secrets.secret import Secret
from keylease.shares.policy import PolicyShares
from keylease.store import seal
from keylease.store.format import HEADER_BYTES

FORMAT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
SEALED = make("attacked")
BYTES = range(len(SEALED))
ONE = re.compile(r"^\|[^|]*\|[^|]*\| (\w+) \|.*\| (\w+Error)[^|]* \|$", re.MULTILINE)
OFFSETS = re.compile(r"^\| (\d+) \| (\d+) \| (\w+) \|.*\| (\w+Error)[^|]* \|$", re.MULTILINE)


def declared(at):
    """Return the class that the document declares for a flipped bit in that byte."""
    if at >= HEADER_BYTES:
        return TamperedError
    for offset, size, _, refused in OFFSETS.findall(FORMAT.partition("### Box")[0]):
        if int(offset) <= at < int(offset) + int(size):
            return getattr(errors, refused)
    raise AssertionError(at)


def open_both(read, sealed):
    """Open the label, then the credential, and return the secret's bytes."""
    opened = seal.open_label(read, sealed)
    return text(seal.open_credential(read, opened).secret)


@pytest.fixture
def rig(tmp_path):
    """Return a service on an empty state directory."""
    return Rig(tmp_path / "keylease")


# Bits and lengths


def test_the_document_declares_every_byte():
    """The table that the next test relies on is found, and covers the whole file."""
    classes = {declared(at) for at in BYTES}

    assert {errors.UnknownFormatError, WrongKeyError, TamperedError} == classes
    boxes = FORMAT.partition("### Box")[2].partition("### Why")[0]
    assert {"length", "nonce", "ciphertext", "tag"} == {name for name, _ in ONE.findall(boxes)}
    assert {"TamperedError"} == {refused for _, refused in ONE.findall(boxes)}
    assert b"correct horse battery staple" == open_both(keys(shared=False), SEALED), "the control"


@pytest.mark.parametrize("shared", [False, True])
def test_every_flipped_bit_is_refused_with_the_declared_class(shared, monkeypatch):
    """A change of any bit of a file is refused, and reveals no plaintext."""
    sealed = make("attacked", shared=shared)
    returned = []
    unbox = seal._unbox
    monkeypatch.setattr(
        seal, "_unbox", lambda *args: returned.append(plain := unbox(*args)) or plain
    )
    open_both(keys(shared=shared), sealed)
    assert 2 == len(returned), "the control: the spy sees both boxes being opened"
    returned.clear()
    for at in range(len(sealed)):
        for bit in range(8):
            # The two lowest bits of the share name a store, and so choose the key; the vectors have
            # the lowest one both ways.
            names_store = at == 5 and bit in {0, 1}
            expected = TamperedError if names_store else declared(at)
            with pytest.raises(SealError) as caught:
                open_both(keys(shared=shared), flip(sealed, at, bit))
            assert expected is type(caught.value), (at, bit)

    assert [] == returned


def test_a_refused_box_leaves_no_plaintext_in_its_buffer(monkeypatch):
    """Plaintext that the cipher may have written before it checked the tag is wiped."""
    buffers = []

    class Spy:
        """An AES-GCM that may have written something when it finds the tag wrong."""

        def __init__(self, key):
            self.real = AESGCM(key)

        def decrypt_into(self, nonce, data, associated_data, buf):
            """Leave bytes in the buffer, then refuse as the real one does."""
            buffers.append(buf)
            buf[:] = b"p" * len(buf)
            return self.real.decrypt_into(nonce, data, associated_data, buf)

        def encrypt(self, nonce, data, associated_data):
            """Encrypt."""
            return self.real.encrypt(nonce, data, associated_data)

    monkeypatch.setattr(seal, "AESGCM", Spy)
    with pytest.raises(TamperedError):
        open_both(keys(shared=False), flip(SEALED, len(SEALED) - 1))

    (buffer,) = buffers
    assert len(buffer) > 0
    assert bytes(len(buffer)) == buffer


def test_a_file_cut_off_at_any_length_is_refused():
    """A file cut off by a crash or a full disk is not a session."""
    for length in BYTES:
        expected = errors.UnknownFormatError if length < HEADER_BYTES else TamperedError
        with pytest.raises(SealError) as caught:
            open_both(keys(shared=False), SEALED[:length])
        assert expected is type(caught.value), length


@pytest.mark.parametrize("more", [b"\0", b"\n", SEALED, bytes(32), SEALED[label_start(SEALED) :]])
def test_bytes_after_the_end_are_refused(more):
    """Bytes appended to a session are refused."""
    with pytest.raises(TamperedError):
        open_both(keys(shared=False), SEALED + more)


def test_lengths_that_do_not_fit_are_refused_at_once():
    """No length field in a file makes a reader allocate memory or read out of bounds."""
    label = label_start(SEALED)
    for at in (HEADER_BYTES, label):
        for length in (0, 1, 27, 28, 2**16, 2**31 - 1, 2**31, 2**32 - 1):
            changed = SEALED[:at] + length.to_bytes(4) + SEALED[at + 4 :]
            with pytest.raises(TamperedError):
                open_both(keys(shared=False), changed)


@pytest.mark.parametrize("cut", [HEADER_BYTES, label_start(SEALED)])
@pytest.mark.parametrize("exchange", [False, True])
def test_parts_of_two_files_do_not_go_together(cut, exchange):
    """A header with the boxes of another file, or with all but the label, does not open."""
    header = HEADER._replace(id=fixed("another", 16).hex())
    other = make("attacked, another", header=header, target=TARGET._replace(host="b.example:8443"))
    assert label_start(other) == label_start(SEALED), "the lengths fit: that is not what refuses"
    one, two = (other, SEALED) if exchange else (SEALED, other)

    with pytest.raises(SealError):
        open_both(keys(shared=False), one[:cut] + two[cut:])


def test_the_same_session_sealed_twice_does_not_mix():
    """Even parts of two files of one session do not combine."""
    one, other = (
        seal.seal(keys(shared=False), HEADER, make_label(), Credential("alice", Secret(b"s" * 28)))
        for _ in range(2)
    )
    for cut in (HEADER_BYTES, label_start(one)):
        with pytest.raises(SealError):
            open_both(keys(shared=False), one[:cut] + other[cut:])


# The same through the service.


def attack(rig, change):
    """Store a session, change its file, ask for it, and return the refusal's reason."""
    rig.session.store(bring())
    (path,) = rig.sealed()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(SessionNotFoundError):
        rig.again().session.get(EXAMPLE)
    assert [] == rig.sealed(), "what was changed is removed on sight"
    return rig.events()[-2]


@pytest.mark.parametrize("at", [0, 4, 5, 6, 22, 40, 45, 60, 63, 70, 100, 114, 120, 130, -50, -1])
def test_a_changed_file_is_no_session_and_the_log_says_so(rig, at):
    """Changing a file ends its session, and the attacker gets nothing."""
    # The byte at 5 names the store of the share: only an existing store can be asked.
    rig = rig.again(shares=(MemoryShares(rig.clock), PolicyShares()))
    event, reason = attack(rig, lambda sealed: flip(sealed, at % len(sealed)))

    assert "session.ended" == event
    # The generation in the header only selects the word of the refusal.
    assert {40: "revoked"}.get(at, "tampered") == reason


def test_a_restored_file_of_a_former_vault_is_not_opened(rig):
    """A backup of the state directory is worthless after a revocation."""
    rig.session.store(bring())
    (path,) = rig.sealed()
    kept = path.read_bytes()
    rig.keystore.delete(rig.vault.record().session_item)
    with pytest.raises(errors.VaultRevokedError):
        rig.again().session.get(EXAMPLE)
    rig.again().session.create(EXAMPLE, bring(password=b"new").credential)
    (new,) = rig.sealed()
    (new.parent / path.name).write_bytes(kept)
    (new.parent / path.name).chmod(0o600)

    assert b"new" == text(rig.again().session.get(EXAMPLE).credential.secret)
    assert ("session.ended", "revoked") in rig.events()[-2:]
    assert [new] == rig.sealed()


# Keys


def multiply(one, other):
    """Multiply in the field of GCM (NIST SP 800-38D, 6.3), most significant bit first."""
    product = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (0xE1 << 120 if other & 1 else 0)
    return product


def inverse(value):
    """Return the inverse: value to the power of 2**128 - 2."""
    result, power = 1 << 127, value
    for _ in range(127):
        power = multiply(power, power)
        result = multiply(result, power)
    return result


def blocks(data):
    """Return the data in blocks of 16 bytes, the last one padded with zeros, as numbers."""
    return [int.from_bytes(data[at : at + 16].ljust(16, b"\0")) for at in range(0, len(data), 16)]


class Gcm:
    """What an attacker needs of AES-GCM under a known key."""

    def __init__(self, key, nonce):
        # CTR mode over zeros gives the key stream; GCM encrypts from counter 2 on.
        stream = AESGCM(key).encrypt(nonce, bytes(4096), None)[:-16]
        self.stream = stream
        self.hash_key = self._block(key, bytes(16))
        self.mask = self._block(key, nonce + b"\0\0\0\1")

    @staticmethod
    def _block(key, block):
        encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block
        return int.from_bytes(encryptor.update(block))

    def tag_but_for(self, authenticated, ciphertext, free):
        """Return the tag without the block number `free`, and the factor of that block."""
        sizes = (8 * len(authenticated) << 64) | 8 * len(ciphertext)
        every = [*blocks(authenticated), *blocks(ciphertext), sizes]
        free += len(blocks(authenticated))
        tag, power, factor = self.mask, self.hash_key, 0
        for index in range(len(every) - 1, -1, -1):
            if index == free:
                factor = power
            else:
                tag ^= multiply(every[index], power)
            power = multiply(power, self.hash_key)
        return tag, factor


def collide(pair, nonce, authenticated, plaintext, free):
    """Return a box that opens under a pair of keys; under the first it gives `plaintext`.

    The attacker chooses all blocks of the plaintext except number `free`. That block solves one
    linear equation: both tags are equal.
    """
    one, other = (Gcm(key, nonce) for key in pair)
    ciphertext = bytearray(a ^ b for a, b in zip(plaintext, one.stream, strict=False))
    ciphertext[16 * free : 16 * free + 16] = bytes(16)
    tag_one, factor_one = one.tag_but_for(authenticated, ciphertext, free)
    tag_other, factor_other = other.tag_but_for(authenticated, ciphertext, free)
    block = multiply(tag_one ^ tag_other, inverse(factor_one ^ factor_other))
    ciphertext[16 * free : 16 * free + 16] = block.to_bytes(16)
    tag = tag_one ^ multiply(block, factor_one)
    box = nonce + bytes(ciphertext) + tag.to_bytes(16)
    return len(box).to_bytes(4) + box


def test_a_file_that_two_keys_open_is_refused_as_of_another_key(monkeypatch):
    """AES-GCM alone allows a file that opens under two vault keys; the commitment prevents it."""
    mine, theirs = keys(shared=False), keys(shared=False, vault_key=fixed("their key"))
    # Built by an attacker who knows both keys: valid under the first one.
    path = "p" * 60
    label = make_label(TARGET._replace(path=path)).pack()
    free = label.index(path.encode()) // 16 + 1
    before = SEALED[: label_start(SEALED)]
    salt, clear = before[66:98], before[:HEADER_BYTES]
    first, second = (bytes(seal._derive(each, "label", salt, clear)) for each in (mine, theirs))
    box = collide((first, second), b"n" * 12, before, label, free)

    nonce, data = box[4:16], box[16:]
    assert label[: 16 * free] == AESGCM(first).decrypt(nonce, data, before)[: 16 * free]
    assert len(label) == len(AESGCM(second).decrypt(nonce, data, before)), "AES-GCM opens it, twice"

    opened = seal.open_label(mine, before + box)
    assert "example.com:8443" == opened.label.target.host, "the first key takes it for whole"
    with pytest.raises(WrongKeyError):
        seal.open_label(theirs, before + box)

    # The control: without the commitment the box opens, so it is the commitment that refuses.
    commitment = before[98:114]
    monkeypatch.setattr(seal, "_commitment", lambda *_: commitment)
    with pytest.raises(errors.UnknownFormatError):
        seal.open_label(theirs, before + box)


def test_a_missing_and_another_share_are_another_key():
    """A missing share, or the share of another session, does not open the file."""
    sealed = make("attacked", shared=True)
    for read in (
        keys(shared=False),
        keys(shared=True, share=fixed("another share")),
        keys(shared=True, vault_key=fixed("share"), share=VAULT_KEY),
        keys(shared=True, vault_key=fixed("another vault")),
    ):
        with pytest.raises(WrongKeyError):
            seal.open_label(read, sealed)
    assert b"correct horse battery staple" == open_both(keys(shared=True), sealed), "the control"


# Randomness


def test_no_salt_and_no_nonce_comes_twice():
    """Many seals of the same session never repeat a random value."""
    salts, nonces = set(), set()
    count = 4 * EXAMPLES
    held = Credential("alice", Secret(b"s"))
    label = make_label()
    for _ in range(count):
        sealed = seal.seal(keys(shared=False), HEADER, label, held)
        start = label_start(sealed)
        salts.add(sealed[66:98])
        nonces.add(sealed[HEADER_BYTES + 4 : HEADER_BYTES + 16])
        nonces.add(sealed[start + 4 : start + 16])

    assert (count, 2 * count) == (len(salts), len(nonces))


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("fault", ["raises", "short", "empty"])
def test_a_generator_that_fails_seals_nothing(rig, monkeypatch, draw, fault):
    """Without enough randomness for salt or nonce sealing is refused, and no file is written."""
    rig.session.store(bring(EXAMPLE._replace(host="other.example")))
    before = sorted(path.name for path in (rig.path / "sessions").rglob("*.*"))
    urandom, drawn = os.urandom, []

    def fail(size):
        if size in {32, 12}:
            drawn.append(size)
            if len(drawn) == draw + 1:
                if fault == "raises":
                    raise OSError(5, "no entropy")
                return urandom(size - 1) if fault == "short" else b""
        return urandom(size)

    monkeypatch.setattr("keylease.secrets.secret.os.urandom", fail)
    with pytest.raises(StateError, match="random generator"):
        rig.again().session.store(bring())

    assert [32, 12, 12][: draw + 1] == drawn
    assert before == sorted(path.name for path in (rig.path / "sessions").rglob("*.*"))
    drawn += [0] * 9
    rig.again().session.store(bring())
    assert PASSWORD == text(
        rig.again().session.get(EXAMPLE).credential.secret
    ), "and it works again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS's own libraries do not survive a fork")
def test_a_fork_between_derivation_and_sealing_seals_nothing(monkeypatch):
    """A forked child has zeros as its key, so it neither seals nor reuses the parent's nonce."""
    derive, children = seal._derive, []
    read, write = os.pipe()

    def derive_then_fork(*args, **more):
        key = derive(*args, **more)
        if args[1] == "credential":
            children.append(os.fork())
        return key

    held = Credential("alice", Secret(b"s" * 28))
    with monkeypatch.context() as patch:
        patch.setattr(seal, "_derive", derive_then_fork)
        try:
            sealed = seal.seal(keys(shared=False), HEADER, make_label(), held)
        except ValueError as error:
            os.write(write, str(error).encode())
        finally:
            if children == [0]:
                os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        childs = pipe.read()
    assert (children[0], 0) == os.waitpid(children[0], 0)

    assert b"a key that was wiped before its use, or is of another process" == childs
    assert b"s" * 28 == open_both(keys(shared=False), sealed), "the control: the parent goes on"
