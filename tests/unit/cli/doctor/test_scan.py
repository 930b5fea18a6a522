"""The search of memory finds what it has to find, and its own memory is not what it finds."""

from __future__ import annotations

import os
import sys

import pytest

from keylease.cli.doctor.scan import Needle, needles, scan

if sys.platform == "win32":
    pytest.skip("files that look like those of proc(5) are read here", allow_module_level=True)

SECRET = bytes(range(100, 164))


def searched(tmp_path, content, wanted):
    """Return what is found in a process that has this in its memory, by files as proc(5) has."""
    memory, maps = tmp_path / "mem", tmp_path / "maps"
    memory.write_bytes(content)
    maps.write_text(
        f"00000000-{len(content):08x} rw-p 00000000 00:00 0 [heap]\n"
        f"00000000-{len(content):08x} r--p 00000000 08:01 7 /usr/lib/libc.so.6\n"
        "7fff0000-7fff1000 r--p 00000000 00:00 0 [vvar]\n"
    )
    opened = [os.open(path, os.O_RDONLY) for path in (maps, memory)]
    try:
        return scan(*opened, wanted)
    finally:
        for each in opened:
            os.close(each)


@pytest.mark.parametrize("start", range(0, 49, 3))
@pytest.mark.parametrize("length", [16, 17, 64])
def test_sixteen_bytes_in_a_row_are_found_wherever_they_begin(tmp_path, start, length):
    """A secret whose beginning was overwritten is found."""
    part = SECRET[start : start + length]
    found = searched(tmp_path, bytes(1000) + part + bytes(1000), [Needle.of("secret", SECRET)])

    assert {"secret": 1} == found.hits


@pytest.mark.parametrize("start", range(0, 50, 7))
def test_fewer_bytes_are_no_find(tmp_path, start):
    """Fifteen bytes are what the search does not promise to tell from chance."""
    part = SECRET[start : start + 15]
    found = searched(tmp_path, bytes(1000) + part + bytes(1000), [Needle.of("secret", SECRET)])

    assert {"secret": 0} == found.hits


@pytest.mark.parametrize("content", [SECRET[:16], SECRET[-16:], b"x" + SECRET, SECRET * 2])
def test_the_edges_of_a_mapping_are_searched(tmp_path, content):
    """A secret at the first or the last byte of a mapping is found."""
    found = searched(tmp_path, content, [Needle.of("secret", SECRET)])

    assert (content.count(SECRET) or 1) == found.hits["secret"]


def test_a_short_secret_has_to_be_there_as_a_whole(tmp_path):
    """A secret shorter than sixteen bytes is found only as a whole."""
    wanted = [Needle.of("whole", b"hunter2"), Needle.of("half", b"hunter3")]

    assert {"whole": 1, "half": 0} == searched(tmp_path, b"--hunter2--", wanted).hits


def test_encodings_are_found(tmp_path):
    """A secret that was written as base64 or as hexadecimal digits is a find too."""
    content = SECRET.hex().encode()
    found = searched(tmp_path, content, needles("secret", SECRET))

    assert {"secret": 0, "secret in base64": 0, "secret in hexadecimal": 1} == found.hits


def test_what_was_not_searched_is_counted(tmp_path):
    """The result says how much memory was searched."""
    found = searched(tmp_path, SECRET, [Needle.of("secret", SECRET)])

    assert (3, 64, 64, ["r--p [vvar]"]) == (
        found.regions,
        found.scanned,
        found.files,
        found.unreadable,
    )
