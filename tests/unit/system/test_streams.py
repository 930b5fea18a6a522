"""A helper reads every byte of a message and writes only the answer."""

from __future__ import annotations

import os
import sys
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from keylease.exchange import heard
from keylease.model import Refusal
from keylease.protocols.base import Call
from keylease.secrets.memory import allocate
from keylease.system import streams
from keylease.system.streams import PeerGoneError, read, tell, undisturbed, write

if TYPE_CHECKING:
    from collections.abc import Iterator

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs directories and pipes of POSIX")
MESSAGE = b"password=hunter2\n" * 1000  # does not fit into the first buffer


@pytest.fixture
def stdin() -> Iterator[int]:
    """Put a pipe in place of stdin and return its other end."""
    before = os.dup(0)
    out, into = os.pipe()
    os.dup2(out, 0)
    os.close(out)
    try:
        yield into
    finally:
        os.dup2(before, 0)
        os.close(before)


def never(_: memoryview) -> bool:
    """Return that the message is not complete."""
    return False


def bring(stdin: int, message: bytes) -> None:
    """Write a message as the peer and close the pipe."""
    with os.fdopen(stdin, "wb") as peer:
        peer.write(message)


def test_a_message_is_read_to_its_end_and_its_smaller_rooms_are_cleared(
    stdin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long message leaves one copy, and the buffers it outgrew are cleared."""
    rooms = []

    def spy(size: int) -> memoryview:
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(streams, "allocate", spy)
    bring(stdin, MESSAGE)

    assert read(1 << 20, never) == MESSAGE
    *smaller, last = rooms
    assert len(smaller) > 1, "the control: it did not fit at once"
    assert [bytes(len(room)) for room in smaller] == smaller
    assert last[: len(MESSAGE)] == MESSAGE


def test_no_more_is_read_than_is_allowed(stdin: int) -> None:
    """Reading stops at the limit, so memory is bounded."""
    bring(stdin, MESSAGE)

    assert read(5000, never) == MESSAGE[:5000]


def test_a_message_that_is_complete_is_not_waited_for(stdin: int) -> None:
    """A complete message is answered even if the peer keeps its end open."""
    os.write(stdin, b"get\n")
    try:
        assert read(100, lambda message: bytes(message[-1:]) == b"\n") == b"get\n"
    finally:
        os.close(stdin)


@POSIX
def test_a_stdin_that_cannot_be_read_is_a_peer_that_is_gone(stdin: int) -> None:
    """An unreadable stdin is refused, not taken for an empty request."""
    os.close(stdin)
    directory = os.open(os.curdir, os.O_RDONLY)
    os.dup2(directory, 0)
    os.close(directory)

    with pytest.raises(PeerGoneError, match="cannot read the request from stdin: "):
        read(100, never)


@POSIX
def test_an_answer_is_whole_though_the_pipe_takes_a_little_at_a_time() -> None:
    """An answer is complete on a non-blocking pipe with a slow reader."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    parts = [b"", memoryview(b"a" * 100_000), *[b"%d;" % each for each in range(3000)], b"end"]
    heard = bytearray()

    def listen() -> None:
        with os.fdopen(out, "rb") as peer:
            heard.extend(peer.read())

    reader = Thread(target=listen)
    reader.start()
    write(parts, into)
    os.close(into)
    reader.join(60)

    assert b"".join(parts) == heard


def test_a_peer_that_went_away_is_told_of_by_one_error() -> None:
    """A broken pipe gives one error without a traceback."""
    out, into = os.pipe()
    os.close(out)
    try:
        with pytest.raises(PeerGoneError, match="cannot write the answer to stdout: "):
            write((b"answer",), into)
    finally:
        os.close(into)


def test_only_the_answer_reaches_the_peer(capfd: pytest.CaptureFixture[str]) -> None:
    """A library's print does not reach git, and works again afterwards."""
    with undisturbed() as stdout:
        os.write(1, b"host=evil.example\n")
        os.write(2, b"a warning\n")
        write((b"answer\n",), stdout)
    os.write(1, b"after\n")

    assert ("answer\nafter\n", "") == capfd.readouterr()


@pytest.mark.parametrize(("always", "said"), [(True, "why\n"), (False, "")])
def test_a_program_is_told_only_what_it_shows_to_people(
    capsys: pytest.CaptureFixture[str], said: str, *, always: bool
) -> None:
    """Without a terminal stderr gets only what is always shown, as tools compare or show it."""
    tell(heard(Refusal(b"", "why\n", 1, always=always), Call((), {}, bytearray())))

    assert ("", said) == capsys.readouterr()


def test_without_a_stderr_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper without stderr answers by exit code alone."""
    monkeypatch.setattr(sys, "stderr", None)

    tell("why\n")
    with undisturbed() as stdout:
        assert stdout > 1
