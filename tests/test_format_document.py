"""docs/format.md is correct: its tables alone, without keylease's code, open the vectors.

Nothing here imports keylease. Offsets, lengths, tags, purposes and refusals come from the
document's tables; this module adds only HMAC, HKDF and AES-GCM.
"""

import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
VECTORS = {path.stem: path for path in sorted((ROOT / "tests/vectors/seal").glob("*.json"))}


def tables(heading):
    """Return the tables below a heading, each a list of rows by column name."""
    section = DOCUMENT.partition(f"# {heading}\n")[2]
    assert section, f"no heading {heading!r}"
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in row.split("|")[1:-1]] for row in block.split("\n")[:-1]
        ]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


HEADER, *_ = tables("Header")
BOX, _ = tables("Box")
LETTERS, PURPOSES, _STORES = tables("Keys")
REFUSALS, *_ = tables("Refusals")
LABEL, *_ = tables("Label")
CREDENTIAL, *_ = tables("Credential")
TOUCH, *_ = tables("The touch record")
INFO = re.search(r"ASCII text `([^`]*)`", DOCUMENT)[1]
HEADER_BYTES = sum(int(row["Bytes"]) for row in HEADER)
NONCE = slice(int(BOX[1]["Offset"]), int(BOX[2]["Offset"]))
TAG_BYTES = int(BOX[3]["Bytes"])


class Refused(Exception):  # noqa: N818 - it carries the name of an error, and is none itself
    """A check of the document failed; the argument is the class that the document gives."""


def step(number):
    """Return the refusal that the document gives for this check."""
    (row,) = [row for row in REFUSALS if row["Step"] == str(number)]
    return Refused(row["Class"])


def hkdf(material, salt, info, length):
    """Derive a key as in RFC 5869."""
    key = hmac.digest(salt or bytes(32), material, "sha256")
    output, block = b"", b""
    for count in range(1, 2 + length // 32):
        block = hmac.digest(key, block + info + bytes([count]), "sha256")
        output += block
    return output[:length]


def derive(purpose, vector, salt=b"", header=b""):
    """Return the key as the table of purposes defines it."""
    (row,) = [row for row in PURPOSES if row["Purpose"] == f"`{purpose}`"]
    letters = {
        "V": bytes.fromhex(vector["vault_key"]),
        "S": bytes.fromhex(vector["share"] or ""),
        "A": bytes.fromhex(vector.get("audit_key", "")),
    }
    material = b"".join(letters[letter] for letter in row["Input"].split(", "))
    info = INFO.encode("ascii") + purpose.encode("ascii") + b"\0"
    if row["Header in info"] == "yes":
        info += header
    if row["Salt"] == "empty":
        salt = b""
    return hkdf(material, salt, info, int(row["Bytes"]))


def read_header(sealed):
    """Return the header's fields as bytes, according to the table."""
    return {
        row["Field"]: sealed[int(row["Offset"]) : int(row["Offset"]) + int(row["Bytes"])]
        for row in HEADER
    }


def open_box(key, box, authenticated):
    """Return the content of a box, with its length."""
    try:
        return AESGCM(key).decrypt(box[NONCE], box[NONCE.stop :], authenticated)
    except InvalidTag:
        return None


def read_fields(packed, cut_off):
    """Return tags and values."""
    fields = []
    while packed:
        end = 5 + int.from_bytes(packed[1:5])
        if len(packed) < 5 or len(packed) < end:
            raise cut_off
        fields.append((str(packed[0]), packed[5:end]))
        packed = packed[end:]
    return fields


def open_label(vector):
    """Do steps 1 to 5 and return the header's fields, the label's fields and the credential box."""
    sealed = bytes.fromhex(vector["sealed"])
    header = read_header(sealed)
    if (
        len(sealed) < HEADER_BYTES
        or header["magic"] != b"KLSF"
        or header["version"] != b"\1"
        or header["share"] not in {b"\0", b"\1", b"\2", b"\3"}
    ):
        raise step(1)
    clear = sealed[:HEADER_BYTES]
    if derive("commitment", vector, header["salt"]) != header["commitment"]:
        raise step(2)
    starts = [HEADER_BYTES]
    for _ in range(2):
        length = int.from_bytes(sealed[starts[-1] : starts[-1] + 4])
        starts.append(starts[-1] + 4 + length)
        if length < 12 + TAG_BYTES or starts[-1] > len(sealed):
            raise step(3)
    if starts[-1] != len(sealed):
        raise step(3)
    key = derive("label", vector, header["salt"], clear)
    packed = open_box(key, sealed[starts[1] :], sealed[: starts[1]])
    if packed is None:
        raise step(4)
    fields = read_fields(packed, step(5))
    tags = [tag for tag, _ in fields]
    required = {row["Tag"] for row in LABEL if row["Required"] == "yes"}
    known = [row["Tag"] for row in LABEL]
    if tags != [tag for tag in known if tag in tags] or not required <= set(tags):
        raise step(5)
    found = dict(fields)
    for row in LABEL:
        size = re.match(r"(\d+) bytes", row["What it is"])
        if size and row["Tag"] in found and len(found[row["Tag"]]) != int(size[1]):
            raise step(5)
    return header, found, sealed[HEADER_BYTES : starts[1]]


def open_credential(vector, header, box):
    """Do steps 6 and 7 and return the secret and the extra fields."""
    clear = bytes.fromhex(vector["sealed"])[:HEADER_BYTES]
    packed = open_box(derive("credential", vector, header["salt"], clear), box, clear)
    if packed is None:
        raise step(6)
    tags = {row["Field"]: row["Tag"] for row in CREDENTIAL}
    fields = read_fields(packed, step(7))
    rest = fields[1:]
    expected = [tags["secret"], *[tags["name"], tags["value"]] * (len(rest) // 2)]
    if [tag for tag, _ in fields] != expected:
        raise step(7)
    pairs = zip(rest[0::2], rest[1::2], strict=True)
    return fields[0][1], [[name.hex(), value.hex()] for (_, name), (_, value) in pairs]


def listed(parts):
    """Encode a list of parts as the section on digests says."""
    return b"".join(
        bytes(5) if part is None else b"\1" + len(part).to_bytes(4) + part for part in parts
    )


def load(name):
    """Return a vector."""
    return json.loads(VECTORS[name].read_text("ascii"))


def test_the_tables_were_read():
    """Every table was found; without tables the other tests would prove nothing."""
    sizes = [len(table) for table in (HEADER, BOX, PURPOSES, REFUSALS, LABEL, CREDENTIAL)]
    assert [12, 4, 7, 7, 8, 3] == sizes
    assert f"The header is {HEADER_BYTES} bytes long" in DOCUMENT
    assert [row["Letter"] for row in LETTERS] == ["V", "S", "A"]


def test_header_fields_follow_each_other():
    """The offsets of the table add up."""
    at = 0
    for row in HEADER:
        assert at == int(row["Offset"]), row["Field"]
        at += int(row["Bytes"])


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("good")])
def test_good_vector_opens_by_the_document_alone(name):
    """Every good vector opens by the document alone."""
    vector = load(name)
    expected = vector["opens"]

    header, label, box = open_label(vector)
    secret, fields = open_credential(vector, header, box)

    for field, value in expected["header"].items():
        found = header[field]
        assert value == (found.hex() if isinstance(value, str) else int.from_bytes(found)), field
    assert expected["label"] == {
        row["Field"]: (
            None
            if row["Tag"] not in label
            else (
                int.from_bytes(label[row["Tag"]])
                if row["Field"] == "expires"
                else label[row["Tag"]].hex()
            )
        )
        for row in LABEL
    }
    assert expected["secret"] == secret.hex()
    assert expected["fields"] == fields


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("good")])
def test_digests_are_as_the_document_says(name):
    """The bucket's name and the echo can be computed by the document."""
    vector = load(name)
    _, label, box = open_label(vector)
    header = read_header(bytes.fromhex(vector["sealed"]))
    secret, _ = open_credential(vector, header, box)
    namespace, protocol, host, username = (label.get(tag) for tag in "1235")

    bucket = hmac.digest(derive("bucket", vector), listed((namespace, protocol, host)), "sha256")
    parts = (namespace, protocol, host, username, secret)
    echo = hmac.digest(derive("echo", vector), listed(parts), "sha256")

    assert vector["bucket"] == bucket[:16].hex()
    assert label["8"] == echo


@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("good")])
def test_touch_record_is_as_the_document_says(name):
    """The touch record's fields, MAC and mark can be computed by the document."""
    vector = load(name)
    record = bytes.fromhex(vector["touch"])
    found = {row["Field"]: record[int(row["Offset"]) :][: int(row["Bytes"])] for row in TOUCH}
    _, label, box = open_label(vector)
    clear = bytes.fromhex(vector["sealed"])[:HEADER_BYTES]
    header = read_header(clear)
    secret, _ = open_credential(vector, header, box)
    parts = [*(label.get(tag) for tag in "1235"), secret]
    digest = hmac.digest(derive("mark", vector), listed(parts), "sha256")

    assert len(record) == sum(int(row["Bytes"]) for row in TOUCH)
    assert (b"\2", header["id"]) == (found["version"], found["id"])
    assert hashlib.sha256(clear).digest() == found["header_digest"]
    assert vector["audit_generation"].to_bytes(8) + digest[:24] == found["mark"]
    assert hmac.digest(derive("touch", vector), record[:-32], "sha256") == found["mac"]


@pytest.mark.parametrize("name", [name for name in VECTORS if not name.startswith("good")])
def test_bad_vector_is_refused_by_the_document_alone(name):
    """The document's checks in order give the refusal that each bad vector declares."""
    vector = load(name)
    expected = vector["refused"]
    if expected["by"] == "open_label":
        with pytest.raises(Refused, match=f"^{expected['as']}$"):
            open_label(vector)
        return
    header, _, box = open_label(vector)
    with pytest.raises(Refused, match=f"^{expected['as']}$"):
        open_credential(vector, header, box)


def test_hkdf_here_is_that_of_the_rfc():
    """The HKDF of this file gives the results of RFC 5869, A.1 and A.3."""
    expected = (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))

    assert expected == hkdf(b"\x0b" * 22, salt, info, 42).hex()
    expected = (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert expected == hkdf(b"\x0b" * 22, b"", b"", 42).hex()


def test_every_kind_of_refusal_has_a_vector():
    """Every check of the document has a vector that fails it."""
    declared = {
        (load(name)["refused"]["by"], load(name)["refused"]["as"])
        for name in VECTORS
        if not name.startswith("good")
    }

    assert {
        ("open_label", "UnknownFormatError"),
        ("open_label", "WrongKeyError"),
        ("open_label", "TamperedError"),
        ("open_credential", "UnknownFormatError"),
        ("open_credential", "TamperedError"),
    } == declared
    assert {row["Class"] for row in REFUSALS} == {refused for _, refused in declared}
