"""Make the vectors of the sealed format: `python tests/vectors/generate.py` writes seal/*.json.

Every run makes the same bytes, because this file alone replaces the random generator by a fixed
one. The vectors are in the repository, so its history shows each change of the format.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from keylease.model import Credential, Moment, Target
from keylease.secrets.secret import Secret
from keylease.store import seal
from keylease.store.format import HEADER_BYTES, Header, Label, Touch, pack_credential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACE = Path(__file__).parent / "seal"
BOX_START = HEADER_BYTES
LENGTH, NONCE, TAG = 4, 12, 16


def fixed(name: str, size: int = 32) -> bytes:
    """Return bytes that look random but are the same in every run."""
    return hashlib.shake_256(f"keylease vector: {name}".encode()).digest(size)


VAULT_KEY = fixed("vault key")
AUDIT_KEY = fixed("audit key")
AUDIT_GENERATION = 5
SHARE = fixed("share")
SESSION = fixed("session id", 16).hex()
BOOT = fixed("boot", 16).hex()
TARGET = Target("web", "https", "example.com:8443", "team/project.git")
SECRET = b"correct horse battery staple"
HEADER = Header(
    share=0,
    id=SESSION,
    generation=3,
    created=Moment(1_790_000_000_123_456_789, 3_600_000_000_001, BOOT),
    idle_seconds=900,
    cap_seconds=28_800,
)


def keys(*, shared: bool, vault_key: bytes = VAULT_KEY, share: bytes = SHARE) -> seal.Keys:
    """Return fresh keys, as they may be wiped."""
    return seal.Keys(Secret(vault_key), Secret(share) if shared else None)


def make_label(target: Target = TARGET, credential: Credential | None = None) -> Label:
    """Return the label that belongs to a target and a credential."""
    held = credential or Credential("alice", Secret(SECRET))
    echo = seal.echo(Secret(VAULT_KEY), target, held.username, held.secret)
    return Label(target, held.username, held.authtype, held.expires, echo)


def make(
    name: str,
    *,
    shared: bool = False,
    header: Header = HEADER,
    target: Target = TARGET,
    credential: Credential | None = None,
) -> bytes:
    """Return a sealed file as keylease makes it, with fixed salt and nonces."""
    held = credential or Credential("alice", Secret(SECRET))
    with fixed_generator(name):
        header = header._replace(share=int(shared))
        return seal.seal(keys(shared=shared), header, make_label(target, held), held)


def forge(name: str, label: bytes, credential: bytes) -> bytes:
    """Return a file that is sealed correctly but has wrong content."""
    with fixed_generator(name):
        salt = seal.random_bytes(32)
        commitment = seal._commitment(keys(shared=False), salt)
        clear = HEADER._replace(salt=salt, commitment=commitment).pack()
        key = seal._derive(keys(shared=False), "credential", salt, clear)
        sealed = clear + seal._box(key, credential, clear)
        return sealed + seal_label(sealed, label)


def seal_label(before: bytes, label: bytes) -> bytes:
    """Return the label box for this header, as the owner of the vault key can make it."""
    salt = Header.unpack(before).salt
    key = seal._derive(keys(shared=False), "label", salt, before[:HEADER_BYTES])
    return seal._box(key, label, before)


def fixed_generator(name: str) -> mock._patch[Callable[[int], bytes]]:
    """Replace the random generator of `keylease.store.seal` for the length of a block."""
    drawn: Iterator[int] = iter(range(1000))
    return mock.patch.object(
        seal, "random_bytes", lambda size: fixed(f"{name}, draw {next(drawn)}", size)
    )


def flip(sealed: bytes, at: int, bit: int = 0) -> bytes:
    """Return the bytes with one bit flipped."""
    changed = bytearray(sealed)
    changed[at] ^= 1 << bit
    return bytes(changed)


def label_start(sealed: bytes) -> int:
    """Return where the label box starts in an undamaged file."""
    return BOX_START + LENGTH + int.from_bytes(sealed[BOX_START : BOX_START + LENGTH])


def field(tag: int, value: bytes) -> bytes:
    """Return one field as encoded in a label or a credential."""
    return bytes([tag]) + len(value).to_bytes(4) + value


def hexed(name: str | None) -> str | None:
    """Return a name's bytes in hexadecimal digits."""
    return None if name is None else name.encode("utf-8", "surrogateescape").hex()


def good(what: str, sealed: bytes, *, shared: bool = False) -> dict[str, object]:
    """Return the vector of a file that opens, with its content."""
    opened = seal.open_label(keys(shared=shared), sealed)
    held = seal.open_credential(keys(shared=shared), opened)
    header, label = opened.header, opened.label
    return {
        "what": what,
        "vault_key": VAULT_KEY.hex(),
        "share": SHARE.hex() if shared else None,
        "sealed": sealed.hex(),
        "bucket": seal.bucket(Secret(VAULT_KEY), label.target),
        "audit_key": AUDIT_KEY.hex(),
        "audit_generation": AUDIT_GENERATION,
        "touch": make_touch(opened, held).hex(),
        "opens": {
            "header": {
                "share": header.share,
                "id": header.id,
                "boot": header.created.boot,
                "generation": header.generation,
                "created_wall_ns": header.created.wall_ns,
                "created_boot_ns": header.created.boot_ns,
                "idle_seconds": header.idle_seconds,
                "cap_seconds": header.cap_seconds,
                "salt": header.salt.hex(),
                "commitment": header.commitment.hex(),
            },
            "label": {
                "namespace": hexed(label.target.namespace),
                "protocol": hexed(label.target.protocol),
                "host": hexed(label.target.host),
                "path": hexed(label.target.path),
                "username": hexed(label.username),
                "authtype": hexed(label.authtype),
                "expires": label.expires,
                "echo": label.echo.hex(),
            },
            "secret": bytes(held.secret.reveal()).hex(),
            "fields": [[hexed(name), bytes(each.reveal()).hex()] for name, each in held.fields],
        },
    }


def make_touch(opened: seal.Opened, held: Credential) -> bytes:
    """Return the touch record of a session that was released a second after its creation."""
    header, label, sealed = opened
    mark = seal.mark(Secret(AUDIT_KEY), AUDIT_GENERATION, label.target, label.username, held.secret)
    wall_ns, boot_ns, boot = header.created
    used = Moment(wall_ns + 1_000_000_000, boot_ns + 1_000_000_000, boot)
    touch = Touch(header.id, used, used, seal.header_digest(sealed), mark)
    return seal.mac_touch(Secret(VAULT_KEY), touch)


def bad(
    what: str,
    sealed: bytes,
    refused: str,
    by: str = "open_label",
    *,
    vault_key: bytes = VAULT_KEY,
    share: bytes | None = None,
) -> dict[str, object]:
    """Return the vector of a file that is refused, with the refusal."""
    return {
        "what": what,
        "vault_key": vault_key.hex(),
        "share": None if share is None else share.hex(),
        "sealed": sealed.hex(),
        "refused": {"as": refused, "by": by},
    }


def opening() -> dict[str, dict[str, object]]:
    """Return the vectors that open."""
    every = Credential(
        "alice",
        Secret(b"Z2Vlc2U="),
        "Basic",
        1_800_000_000,
        (("oauth_refresh_token", Secret(b"refresh-me")), ("x", Secret(b""))),
    )
    bytes_ = Credential("b\udcff", Secret(bytes(range(256))))
    strange = Target("web", "https", "h\udc80st", "\u00e9")
    silent = Credential(None, Secret(b"t"))
    empty = Credential("", Secret(b""))
    return {
        "good": good("an ordinary session", make("good")),
        "good-shared": good(
            "a session with a volatile share", make("good-shared", shared=True), shared=True
        ),
        "good-every-field": good(
            "authtype, expiry and two extra fields", make("good-every-field", credential=every)
        ),
        "good-not-utf-8": good(
            "names that are not UTF-8, a secret of every byte",
            make("good-not-utf-8", target=strange, credential=bytes_),
        ),
        "good-absent": good(
            "no path and no username",
            make("good-absent", target=TARGET._replace(path=None), credential=silent),
        ),
        "good-empty": good(
            "an empty path, an empty username, an empty secret",
            make("good-empty", target=TARGET._replace(path=""), credential=empty),
        ),
    }


def of_unknown_format(sealed: bytes) -> dict[str, dict[str, object]]:
    """Return the vectors with no sealed file of version 1 or with unknown content."""
    label = make_label().pack()
    credential = bytes(pack_credential(Credential("alice", Secret(SECRET))))
    required = [field(1, b"web"), field(2, b"https"), field(3, b"h"), field(8, bytes(32))]
    inside = {
        "label-empty": ("a label without a field", b"", credential),
        "label-without-host": (
            "a label without its host",
            required[0] + required[1] + required[3],
            credential,
        ),
        "label-unknown-field": ("a label with a field 9", label + field(9, b""), credential),
        "label-field-twice": (
            "a label with two hosts",
            b"".join((*required[:3], *required[2:])),
            credential,
        ),
        "label-out-of-order": (
            "a label with the host before the protocol",
            b"".join((required[0], required[2], required[1], required[3])),
            credential,
        ),
        "label-field-cut-off": (
            "a label that ends in a field's length",
            label + b"\x09\0",
            credential,
        ),
        "label-field-too-long": (
            "a label with a field that is longer than the label",
            b"".join(required[:3]) + b"\x08\0\0\0\x20" + bytes(31),
            credential,
        ),
        "label-expires-short": (
            "a label with an expiry of seven bytes",
            b"".join((*required[:3], field(7, bytes(7)), required[3])),
            credential,
        ),
        "label-expires-empty": (
            "a label with an expiry of no bytes",
            b"".join((*required[:3], field(7, b""), required[3])),
            credential,
        ),
        "label-echo-long": (
            "a label with an echo of 33 bytes",
            b"".join(required[:3]) + field(8, bytes(33)),
            credential,
        ),
        "credential-empty": ("a credential without a field", label, b""),
        "credential-two-secrets": (
            "a credential with two secrets",
            label,
            credential + field(1, b"another"),
        ),
        "credential-name-alone": (
            "a credential with a name and no value",
            label,
            credential + field(2, b"token"),
        ),
        "credential-value-first": (
            "a credential with a value before its name",
            label,
            credential + field(3, b"v") + field(2, b"token"),
        ),
        "credential-without-secret": (
            "a credential with nothing but an extra field",
            label,
            field(2, b"token") + field(3, b"v"),
        ),
        "credential-field-cut-off": (
            "a credential that ends within a field",
            label,
            credential[:-1],
        ),
    }
    outside = {
        "empty": ("no bytes at all", b""),
        "header-cut-off": ("the header but for its last byte", sealed[: HEADER_BYTES - 1]),
        "magic": ("another magic", b"KLSE" + sealed[4:]),
        "version-0": ("an older version", sealed[:4] + b"\0" + sealed[5:]),
        "version-2": ("a later version", sealed[:4] + b"\2" + sealed[5:]),
        "share-4": ("a share in a store that is not in the list", sealed[:5] + b"\4" + sealed[6:]),
    }
    vectors = {
        name: bad(what, changed, "UnknownFormatError") for name, (what, changed) in outside.items()
    }
    for name, (what, label_bytes, credential_bytes) in inside.items():
        by = "open_label" if name.startswith("label") else "open_credential"
        forged = forge(name, label_bytes, credential_bytes)
        vectors[name] = bad(what, forged, "UnknownFormatError", by)
    return vectors


def of_another_key(sealed: bytes, shared: bytes) -> dict[str, dict[str, object]]:
    """Return the vectors of files sealed under another key than the reader's."""
    wrong = "WrongKeyError"
    other = fixed("another key")
    return {
        "other-vault-key": bad("another vault key", sealed, wrong, vault_key=other),
        "other-share": bad("another session's share", shared, wrong, share=other),
        "share-gone": bad("the share is gone", shared, wrong),
        "share-not-asked-for": bad("a share where none was used", sealed, wrong, share=SHARE),
        "keys-exchanged": bad(
            "vault key and share exchanged", shared, wrong, vault_key=SHARE, share=VAULT_KEY
        ),
        "shared-cleared": bad(
            "the share flag cleared, so no share is taken", flip(shared, 5), wrong
        ),
        "salt": bad("one bit of the salt", flip(sealed, 66), wrong),
        "commitment": bad("one bit of the commitment", flip(sealed, HEADER_BYTES - 1), wrong),
        "other-key-cut-off": bad(
            "another vault key and cut off: the key is told", sealed[:-1], wrong, vault_key=other
        ),
    }


def tampered_with(sealed: bytes, other: bytes) -> dict[str, dict[str, object]]:
    """Return the vectors of files that were changed after sealing."""
    label = label_start(sealed)
    swapped = label_start(other)
    first = sealed[BOX_START:label]
    changed = {
        "shared-set": ("the share flag set, though there is no share", flip(sealed, 5)),
        "id": ("one bit of the session id", flip(sealed, 6)),
        "boot": ("one bit of the boot", flip(sealed, 22)),
        "generation": ("one bit of the generation", flip(sealed, 41)),
        "created-wall": ("one bit of the creation on the wall clock", flip(sealed, 49)),
        "created-boot": ("one bit of the creation on the boot clock", flip(sealed, 57)),
        "idle": ("one bit of the idle timeout", flip(sealed, 61)),
        "cap": ("one bit of the absolute cap", flip(sealed, 65)),
        "credential-length": ("one bit of the credential's length", flip(sealed, BOX_START + 3)),
        "credential-nonce": ("one bit of the credential's nonce", flip(sealed, BOX_START + LENGTH)),
        "credential-ciphertext": (
            "one bit of the credential's ciphertext: the label is what refuses",
            flip(sealed, BOX_START + LENGTH + NONCE),
        ),
        "credential-tag": ("one bit of the credential's tag", flip(sealed, label - 1)),
        "label-length": ("one bit of the label's length", flip(sealed, label + 3)),
        "label-nonce": ("one bit of the label's nonce", flip(sealed, label + LENGTH)),
        "label-ciphertext": (
            "one bit of the label's ciphertext",
            flip(sealed, label + LENGTH + NONCE),
        ),
        "label-tag": ("one bit of the label's tag", flip(sealed, len(sealed) - 1)),
        "boxes-cut-off": ("the header alone", sealed[:BOX_START]),
        "credential-cut-off": ("cut off within the credential", sealed[: label - 1]),
        "label-gone": ("no label box", sealed[:label]),
        "label-cut-off": ("but for the last byte", sealed[:-1]),
        "byte-too-many": ("one byte after the end", sealed + b"\0"),
        "file-twice": ("the label box twice", sealed + sealed[label:]),
        "length-of-everything": (
            "a credential's length that reaches to the end of the file",
            sealed[:BOX_START]
            + (len(sealed) - BOX_START - LENGTH).to_bytes(LENGTH)
            + sealed[BOX_START + LENGTH :],
        ),
        "length-largest": (
            "the largest length that there is",
            sealed[:BOX_START] + b"\xff\xff\xff\xff" + sealed[BOX_START + LENGTH :],
        ),
        "boxes-exchanged": ("label before credential", sealed[:BOX_START] + sealed[label:] + first),
        "header-of-another": ("another session's boxes", sealed[:BOX_START] + other[BOX_START:]),
        "credential-of-another": (
            "another session's credential box",
            sealed[:BOX_START] + other[BOX_START:swapped] + sealed[label:],
        ),
        "label-of-another": ("another session's label box", sealed[:label] + other[swapped:]),
    }
    vectors = {name: bad(what, each, "TamperedError") for name, (what, each) in changed.items()}
    for name, before in (
        ("resealed-credential-tag", flip(sealed[:label], label - 1)),
        ("resealed-credential-of-another", sealed[:BOX_START] + other[BOX_START:swapped]),
    ):
        with fixed_generator(name):
            resealed = before + seal_label(before, make_label().pack())
        what = "a changed credential box under a label box that was made anew with the vault key"
        vectors[name] = bad(what, resealed, "TamperedError", "open_credential")
    return vectors


def vectors() -> dict[str, dict[str, object]]:
    """Return every vector under its name."""
    sealed = make("sealed")
    shared = make("sealed with a share", shared=True)
    other_header = HEADER._replace(id=fixed("another session id", 16).hex())
    other = make("other", header=other_header, target=TARGET._replace(host="other.example"))
    return {
        **opening(),
        **of_unknown_format(sealed),
        **of_another_key(sealed, shared),
        **tampered_with(sealed, other),
    }


def text(vector: dict[str, object]) -> str:
    """Return a vector as the text of its file."""
    return json.dumps(vector, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the vectors and remove outdated ones."""
    for path in PLACE.glob("*.json"):
        path.unlink()
    for name, vector in vectors().items():
        (PLACE / f"{name}.json").write_text(text(vector), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
