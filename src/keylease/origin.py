"""The canonical name of a server: one name for all spellings that lead a client to it.

The policy and the sections of the configuration are looked up by this name. Sessions are not: a
session answers only the exact spelling of its host. docs/decisions/0024-one-name-of-a-host.md has
the reasons.

Text in, text out: no resolver and no file. A name in ASCII needs no library. Other imports are
inside the functions that need them, because git waits for this code.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# Default ports (RFC 3986, 3.2.3, and the port registry of IANA).
_DEFAULT_PORTS: Final = {
    "https": "443",
    "http": "80",
    "ssh": "22",
    "ftp": "21",
    "ftps": "990",
    "smtp": "25",
    "imap": "143",
    "imaps": "993",
}
# The name of an AWS profile is not a host, so `010` is not an address there.
_PROFILES: Final = frozenset({"aws"})
_ESCAPES: Final = re.compile("(?:%[0-9A-Fa-f]{2})+")
_JOINERS: Final = "\u200c\u200d"
_LONGEST_LABEL: Final = 63
"""Maximum bytes of a label in DNS (RFC 1035, 2.3.4), so also of letters."""
# UTS 46 mapped these to nothing up to Unicode 15.0 and forbids them today. Clients use tables of
# any version, so both readings reach the server. U+FFA0 is the half-width form of U+1160.
_ONCE_IGNORED: Final = frozenset("\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0")
_IPV4_PARTS: Final = 4
_LONGEST_NUMBER: Final = 11
"""Digits of the largest IPv4 address in octal, leading zeros aside."""


@lru_cache(maxsize=64)  # one request asks several times, and a name can have 64 KiB
def origin(protocol: str, host: str) -> str:
    """Return the name under which the terms for a server are looked up.

    RFC 3986, 3.1, 3.2.2, 3.2.3 and 6.2.2: capital letters and escaped characters make no
    difference in scheme and host. The port is a number; an empty port or the default one is left
    out. The user is no part of the name. A full stop at the end (the root of DNS) is left out. In a
    name with slashes, which an AWS profile may have, only the first part counts.

    Terms can only restrict, so the wider reading is the safe one. An alias in DNS is another
    server.
    """
    protocol = protocol.lower()
    name, port = _split_port(_mapped(_unescaped(host.partition("/")[0].rpartition("@")[2])))
    name = name.rstrip(".")
    address = None if protocol in _PROFILES else _address(name)
    if address is None:
        address = name if name.isascii() else ".".join(map(_a_label, name.split(".")))
    number = port.lstrip("0")
    port = "" if number in {"", _DEFAULT_PORTS.get(protocol)} else f":{number}"
    return f"{protocol}://{address}{port}"


def _unescaped(text: str) -> str:
    # RFC 3986, 3.2.2: a name may be escaped. In brackets the sign begins a zone (RFC 6874).
    if "%" not in text or text.startswith("["):
        return text
    return _ESCAPES.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogateescape"),
        text,
    )


def _split_port(authority: str) -> tuple[str, str]:
    name, colon, port = authority.rpartition(":")
    # RFC 3986, 3.2.2: an IPv6 address has colons, and stands in brackets if a port follows.
    is_address = ":" in name and not name.startswith("[")
    if is_address or not colon or not (port.isascii() and (port.isdigit() or not port)):
        return authority, ""
    return name, port


def _mapped(text: str) -> str:
    """Return the text mapped by UTS 46, non-transitional: `straße` is not `strasse`.

    Wide letters, other full stops and capital letters become the usual ones; invisible characters
    are removed. A character that UTS 46 forbids stays unchanged.
    """
    if text.isascii():
        return text.lower()
    import idna

    text = "".join(char for char in text if char not in _ONCE_IGNORED)
    try:
        mapped = idna.uts46_remap(text, std3_rules=False)
    except idna.IDNAError:
        mapped = text.translate({ord(char): _mapped_alone(char) for char in set(text)})
    return ".".join(map(_without_idle_joiners, mapped.split(".")))


def _mapped_alone(char: str) -> str:
    import idna

    try:
        return idna.uts46_remap(char, std3_rules=False)
    except idna.IDNAError:
        return char


def _without_idle_joiners(label: str) -> str:
    """Return the label without the joiners that RFC 5892, A.1 and A.2, forbids at their place.

    Such a name cannot be registered. curl falls back to the transitional reading, which drops them.
    """
    if not any(joiner in label for joiner in _JOINERS):
        return label
    return "".join(
        char for at, char in enumerate(label) if char not in _JOINERS or _joins(label, at)
    )


def _joins(label: str, at: int) -> bool:
    import idna

    if len(label) > _LONGEST_LABEL:
        return False
    try:
        return idna.valid_contextj(label, at)
    except (idna.IDNAError, ValueError):  # Unicode has no name for a neighbour
        return False


def _a_label(label: str) -> str:
    """Return one label of a mapped name in the form of DNS; unchanged if it is not valid."""
    if label.isascii() or len(label) > _LONGEST_LABEL:
        return label
    import idna

    try:
        idna.uts46_remap(label, std3_rules=False)
    except idna.IDNAError:
        return label
    # Not idna.encode: IDNA 2008 forbids emoji, but some servers have one in their name.
    return f"xn--{label.encode('punycode').decode('ascii')}"


def _address(name: str) -> str | None:
    """Return the canonical form of an IP address; `None` for a name."""
    if ":" not in name:
        return _ipv4(name)
    import ipaddress

    # Drop the zone: it names an interface of this machine, in several spellings (RFC 4007, 11).
    literal = name.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        return None
    # RFC 4291, 2.5.5.2: the system uses IPv4 for such an address.
    return str(address.ipv4_mapped or f"[{address.compressed}]")


def _ipv4(name: str) -> str | None:
    """Return an IPv4 address as inet_aton(3) and the URL standard read it: `127.1`, `0x7f.1`."""
    numbers = [_number(part) for part in name.split(".", _IPV4_PARTS)]
    *front, last = numbers
    if (
        len(numbers) > _IPV4_PARTS
        or last is None
        or last >= 256 ** (_IPV4_PARTS + 1 - len(numbers))
    ):
        return None
    value = last
    for place, number in enumerate(front):
        if number is None or number > 255:  # noqa: PLR2004 - a byte
            return None
        value += number << 8 * (_IPV4_PARTS - 1 - place)
    return ".".join(str(byte) for byte in value.to_bytes(_IPV4_PARTS))


def _number(part: str) -> int | None:
    base, digits = 10, part
    if part.startswith("0x"):
        base, digits = 16, part[2:] or "0"
    elif part.startswith("0"):
        base = 8
    digits = digits.lstrip("0") or digits[-1:]
    if not digits.isascii() or not digits.isalnum() or len(digits) > _LONGEST_NUMBER:
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None
