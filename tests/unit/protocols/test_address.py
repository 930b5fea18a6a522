"""keylease reads URLs as git does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.gits import GITS, MISSING
from support.waiting import WAIT_SECONDS

from keylease.errors import UsageError
from keylease.model import Target
from keylease.protocols import address

URLS = [
    "https://git.example",
    "https://git.example/",
    "https://git.example:443/org/repo.git",
    "http://GIT.example//org//repo.git//",
    "https://ada@git.example",
    "https://@git.example",
    "https://ada%40corp@git.example/a%20b",
    "https://[2001:db8::1]:8443/x",
    "https://git.example/p%C3%A4th?query#part",
    "https://git.example?query",
    "https://münchen.example/pfad",
    "ftp://ada@git.example:21/x",
    "HTTPS://git.example",
    "smtp://mail.example:587",
    "https://100%.example/%zz",
]


@pytest.mark.skipif(sys.platform == "win32", reason="the helper here is a shell command")
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("git", GITS, ids=str)
def test_session_is_for_what_git_asks_for(git, url, tmp_path):
    """`keylease login` reads every URL as git does."""
    asked = tmp_path / "asked"
    helper = f"!f() {{ cat >{asked}; echo quit=1; }}; f"
    options = ("-c", f"credential.helper={helper}", "-c", "credential.useHttpPath=true")
    subprocess.run(
        [git.path, *options, "credential", "fill"],
        input=f"url={url}\n\n".encode(),
        env=os.environ | git.environment | {"HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    said = dict(line.split("=", 1) for line in asked.read_bytes().decode().splitlines())

    expected = Target("web", said["protocol"], said["host"], said.get("path") or None)
    assert (expected, said.get("username")) == address.parse_url(url)


def test_gits_to_compare_with_are_here():
    """The test above has gits to compare with."""
    if not GITS:
        pytest.skip("; ".join(MISSING))


def test_bytes_of_another_encoding_are_kept():
    """A host in Latin-1 keeps the bytes that git sends, without question marks."""
    found = address.parse_url(os.fsdecode(b"https://h\xe4ste.example"), os.fsdecode(b"\xff"))

    assert ("h\udce4ste.example", "\udcff") == (found.target.host, found.username)


def test_people_read_what_it_is_for():
    """A message names the empty user name instead of showing nothing."""
    assert "https://a.example/p" == str(address.parse_url("https://a.example/p"))
    assert "https://a.example as ada" == str(address.parse_url("https://ada@a.example"))
    assert "https://a.example as the empty user name" == str(
        address.parse_url("https://@a.example")
    )


@pytest.mark.parametrize("url", ["https://ada:hunter2@a.example", "ada:hunter2@a.example"])
def test_url_with_a_password_is_never_repeated(url):
    """Neither the message nor its cause contains the URL's password."""
    with pytest.raises(UsageError) as raised:
        address.parse_url(url)

    assert "hunter2" not in f"{raised.value} {raised.value.hint}"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
