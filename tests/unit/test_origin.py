"""One name of a server for the policy and the sections, whatever the client's spelling."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import WAIT_SECONDS

from keylease.embed.keyring_lookup import kept
from keylease.errors import KeyleaseError
from keylease.model import Settings, Terms
from keylease.origin import origin
from keylease.protocols.base import Call
from keylease.protocols.peers import load
from keylease.rules import terms_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keylease.model import Target

# What a section names, every spelling that reaches the same server, and other servers.
SERVERS = {
    "git.example": (
        {
            "git.example",
            "GIT.Example",
            "git.example.",
            "git.example:443",
            "git.example:0443",
            "git.example:",
            "git.example.:443",
            "git\u3002example",
            "git\uff0eexample",
            "git\uff61example",
            "\uff47\uff49\uff54.example",
            "\uff47\uff49\uff54.example:443",
            "git.example\uff1a443",
            "g\u0131t.example".replace("\u0131", "\u2139"),  # the information sign is an i
            "gi\u2064t.example",
            "g\u00adit.example",
            "git\u200b.example",
            "git\ufeff.example",
            "git\ufe0f.example",
            "git\u034f.example",
            "gi\u200dt.example",
            "\u200cgit.example",
            "git\u3164.example",
            "git\u180e.example",
            "git%2Eexample",
            "%67it.example",
        },
        {
            "git.example:8443",
            "git.example:80",
            "xgit.example",
            "git.example.evil.example",
            "g\u0131t.example",  # a dotless i
            "g\u0456t.example",  # a Cyrillic one
            "git\U000e0041.example",  # forbidden, and no client drops it
            "git\uff0f.example",
            "xn--git-.example",
        },
    ),
    "stra\u00dfe.example": (
        {
            "stra\u00dfe.example",
            "STRA\u1e9eE.example",
            "xn--strae-oqa.example",
            "XN--STRAE-OQA.example:443",
            "stra\u00dfe\u3002example",
            "s\u00adtra\u00dfe.example",
            "stra%C3%9Fe.example",
        },
        {"strasse.example", "STRASSE.example", "strase.example"},
    ),
    "b\u00fccher.example": (
        {
            "B\u00dcCHER.example",
            "bu\u0308cher.example",
            "xn--bcher-kva.example",
            "\uff42\u00fccher.example.",
        },
        {"bucher.example", "xn--bcher-kvb.example"},
    ),
    "xn--mgba3gch31f060k.example": (
        # Persian needs the joiner: with and without it are two different names.
        {"\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example"},
        {"\u0646\u0627\u0645\u0647\u0627\u06cc.example"},
    ),
    "\u2603.example": ({"xn--n3h.example", "\u2603\ufe0f.example"}, {"\u2604.example"}),
    "a_b.\u00fc.example": ({"A_B.\u00dc.example"}, {"ab.\u00fc.example"}),
    "[::1]": (
        {
            "[::1]:443",
            "[0:0:0:0:0:0:0:1]",
            "[0000::0001]",
            "[0:0::0:1]:0443",
            "[::0.0.0.1]",
            "::1",
        },
        {"[::2]", "[::1]:8443", "127.0.0.1", "localhost"},
    ),
    "127.0.0.1": (
        {
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f.1",
            "0x7F000001",
            "0177.0.0.1",
            "127.0.0.01:443",
            "\uff11\uff12\uff17.1",
            "[::ffff:127.0.0.1]",
            "[::FFFF:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]:443",
        },
        {
            "127.0.0.2",
            "127.0.0.1.example",
            "127.0.0.0.1",
            "127.0.0.257",
            "127.0.0.08",
            "0x.0x7f.g",
            "[::127.0.0.1]",
        },
    ),
    "[fe80::1]": (
        {"[fe80::1%eth0]", "[FE80:0::1%25eth0]:443", "[fe80::1%2]"},
        {"[fe80::2%eth0]"},
    ),
}
SPELLINGS = [
    (section, host, bound)
    for section, groups in SERVERS.items()
    for bound, hosts in zip((True, False), groups, strict=True)
    for host in sorted(hosts)
]


def asked_by_git(message: str) -> Target | None:
    """Return the target of a git message."""
    return load("git").parse(Call(("get",), {}, bytearray(message.encode()))).target


def named(tool: str) -> Callable[[str], Target | None]:
    """Return the parser of a tool's server names."""
    return lambda name: load(tool).target(name)  # type: ignore[attr-defined]


WAYS: dict[str, tuple[str, Callable[[str], Target | None]]] = {
    "git": ("protocol=https\nhost={}\n\n", asked_by_git),
    "git, a user in it": ("protocol=https\nhost=ada@{}\n\n", asked_by_git),
    "git, a URL": ("url=https://{}/a.git\n\n", asked_by_git),
    "docker": ("{}", named("docker")),
    "docker, a URL": ("https://{}/v2/", named("docker")),
    "cargo": ("sparse+https://{}/index/", named("cargo")),
    "terraform": ("{}", named("terraform")),
    "vault": ("https://{}", named("vault")),
    "kubernetes": ("https://{}", named("kubernetes")),
    "go": ("https://{}/x", named("go")),
    "bazel": ("https://{}/x", named("bazel")),
    "pnpm": ("https://{}/", named("pnpm")),
    "keyring": ("https://{}/simple", lambda url: (kept(url, "ada") or (None,))[0]),
}


@pytest.mark.parametrize(("section", "host", "bound"), SPELLINGS)
def test_a_section_binds_all_spellings_of_its_server_and_no_other(section, host, bound):
    """A policy binds every spelling of its server and no other server."""
    assert bound == (origin("https", section) == origin("HTTPS", host))


@pytest.mark.parametrize("way", WAYS)
def test_a_section_holds_however_the_tool_gives_the_host(way):
    """A tool either refuses a spelling, or its request is bound by the section."""
    form, read = WAYS[way]
    count = 0
    for section, host, bound in SPELLINGS:
        settings = Settings(targets={origin("https", section): Terms(revoked=True)})
        with suppress(KeyleaseError):
            target = read(form.format(host))
            if target is not None:
                count += 1
                assert bound == terms_of(settings, target).revoked, (way, section, host)

    assert count >= len(SERVERS), "the control: spellings of most servers come through"


@pytest.mark.parametrize(
    ("protocol", "host", "expected"),
    [
        ("http", "git.example:80", "http://git.example"),
        ("ssh", "git@git.example:22", "ssh://git.example"),
        ("ssh", "git.example:443", "ssh://git.example:443"),
        ("smtp", "mail.example:25", "smtp://mail.example"),
        ("smtp", "mail.example:587", "smtp://mail.example:587"),
        ("imaps", "mail.example:993", "imaps://mail.example"),
        ("aws", "PROD:443", "aws://prod:443"),
        # A profile is not a host: these are two different profiles, not addresses.
        ("aws", "010", "aws://010"),
        ("aws", "8", "aws://8"),
        ("https", "8", "https://0.0.0.8"),
        ("https", "", "https://"),
    ],
)
def test_the_port_of_each_protocol_is_its_own(protocol, host, expected):
    """443 is the default port of https, and of no other protocol."""
    assert expected == origin(protocol, host)


@pytest.mark.parametrize(
    ("protocol", "host", "expected"),
    [
        ("https", "github.com", "https://github.com"),
        ("HTTPS", "GitHub.com", "https://github.com"),
        ("https", "github.com:443", "https://github.com"),
        ("http", "github.com:80", "http://github.com"),
        ("https", "github.com:80", "https://github.com:80"),
        ("https", "github.com.", "https://github.com"),
        ("https", "github.com.:443", "https://github.com"),
        ("https", "github.com:8443", "https://github.com:8443"),
        ("ssh", "github.com:443", "ssh://github.com:443"),
        ("ssh", "github.com:", "ssh://github.com"),
        ("https", "[::1]:443", "https://[::1]"),
        ("https", "evil-github.com", "https://evil-github.com"),
        # A cargo registry with a user in it, and names of AWS profiles.
        ("ssh", "git@github.com", "ssh://github.com"),
        ("ssh", "git@github.com:2222", "ssh://github.com:2222"),
        ("aws", "team/prod", "aws://team"),
        ("aws", "ada@team/prod", "aws://team"),
    ],
)
def test_one_server_has_one_name_for_the_policy(protocol: str, host: str, expected: str) -> None:
    """Capital letters, the default port and a trailing dot give the same name to the policy."""
    assert expected == origin(protocol, host)


@given(st.text(st.sampled_from("0123456789abcdefx."), min_size=1, max_size=20))
def test_an_address_is_read_as_the_system_reads_it(text):
    """Every IPv4 address is named as connect(2) reads it."""
    with suppress(OSError):
        # inet_aton(3) of glibc accepts a number that is too large; URLs and this code do not.
        expected = socket.inet_ntoa(socket.inet_aton(text))
        assert f"https://{expected}" == origin("https", text)


@given(st.integers(0, 2**128 - 1))
def test_an_address_of_ipv6_is_read_as_the_system_reads_it(number):
    """Every spelling of an IPv6 address is named as inet_pton(3) reads it."""
    packed = number.to_bytes(16)
    short = socket.inet_ntop(socket.AF_INET6, packed)
    long = ":".join(packed[at : at + 2].hex() for at in range(0, 16, 2)).upper()

    assert origin("https", f"[{short}]") == origin("https", f"[{long}]:443")


@given(st.text(max_size=40))
def test_any_text_has_a_name(host):
    """Invalid text is compared as it is, and never raises an error."""
    assert origin("https", host).startswith("https://")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_what_idna_takes_is_named_as_idna_names_it(first, second):
    """The idna library and this code agree on every name that both accept."""
    host = f"a{first}.{second}.example"
    with suppress(idna.IDNAError, UnicodeError):
        expected = idna.encode(host, uts46=True).decode("ascii")
        if not re.search("[/@:%]", host):
            assert f"https://{expected.rstrip('.')}" == origin("https", host)


@pytest.mark.parametrize(
    "host",
    [
        "\udcff.example",  # a byte that is not UTF-8
        "a\ud800b.example",  # half a surrogate pair from Windows
        "x" * 64 + "\u00fc.example",
        "\u0378.example",  # a character that Unicode has not assigned
    ],
)
def test_what_no_name_can_have_is_compared_as_it_is(host):
    """A name that no resolver can find is compared as it is, and equals no other server."""
    assert f"https://{host}" == origin("https", host)
    assert origin("https", host) != origin("https", f"x{host}")


@pytest.mark.parametrize("host", ["git.example", "xn--n3h.example:8443", "127.1", "GIT.example."])
def test_a_plain_name_costs_no_library(host):
    """A plain name imports no library, because git waits for it."""
    code = (
        "import sys; from keylease.origin import origin; origin('https', sys.argv[1]);"
        "print(*{'idna', 'ipaddress', 'unicodedata'} & set(sys.modules));"
        "origin('https', '[::1]'); origin('https', '\\xfc');"
        "print(*sorted({'idna', 'ipaddress'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}; {code}",
            host,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    assert "\nidna ipaddress\n" == done.stdout, "nothing at first, and the control"
