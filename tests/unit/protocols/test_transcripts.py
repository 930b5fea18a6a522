r"""Conversations with git, as tests/transcripts/git-*.txt tell them.

A transcript is plain text: `#` begins a remark, `$` an operation, `>` a line from git, `<` a line
of the answer, `!` the error that a terminal would show. No `<` means silence. `\r`, `\0`, `\x..`
and `\\` stand for bytes. Sessions are numbered from 1 and end at 2000000000.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from keylease.clock import Moment
from keylease.errors import RequestError
from keylease.model import Reply, Session
from keylease.protocols import load
from keylease.secret import Secret

TRANSCRIPTS = sorted((Path(__file__).parents[2] / "transcripts").glob("git-*.txt"))
ESCAPE = re.compile(rb"\\(r|0|\\|x[0-9a-f]{2})")


class Turn(NamedTuple):
    """One operation: what git says, and what it must hear."""

    line: int
    action: str
    message: bytes
    answer: bytes
    error: str | None


class Table:
    """The least that can keep sessions: no clock, no files, no keys."""

    def __init__(self):
        self.replies = []
        self.count = 0

    def matching(self, request):
        """Return the sessions that the request is about, the newest first."""
        return [
            reply
            for reply in reversed(self.replies)
            if request.target._replace(path=None) == reply.session.target._replace(path=None)
            and request.target.path in (None, reply.session.target.path)
            and request.username in (None, reply.session.username)
        ]

    def answer(self, request):
        """Do what is asked and return the reply, if there is one."""
        if request.target is None:
            return None
        found = self.matching(request)
        if request.action == "get":
            return found[0] if found else None
        if request.action == "erase":
            for reply in found:
                wanted = request.credential
                if wanted is None or wanted.secret.matches(reply.credential.secret):
                    self.replies.remove(reply)
        elif request.credential is not None and not request.ephemeral and not request.echoes:
            for reply in found:
                if (request.target, request.username) == reply.session[1:3]:
                    self.replies.remove(reply)
            self.create(request)
        return None

    def create(self, request):
        """Keep what the request brings."""
        self.count += 1
        now = Moment(1, 1, "boot")
        brought = request.credential
        session = Session(
            f"{self.count:032x}",
            request.target,
            request.username,
            brought.authtype,
            brought.expires,
            1,
            now,
            now,
            None,
            900,
            28800,
        )
        kept = brought._replace(secret=Secret(brought.secret.reveal()))
        self.replies.append(Reply(session, kept, 2_000_000_000))


def unescaped(text):
    """Return the bytes that a line of a transcript stands for."""

    def byte(match):
        found = match[1]
        simple = {b"r": b"\r", b"0": b"\0", b"\\": b"\\"}
        return simple.get(found) or bytes([int(found[1:], 16)])

    return ESCAPE.sub(byte, text.encode())


def read(path):
    """Return the turns of a transcript."""
    turns = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, text = line[:1], line[2:]
        if mark in {"", "#"}:
            continue
        if mark == "$":
            turns.append(Turn(number, text, b"", b"", None))
            continue
        turn = turns.pop()
        if mark == ">":
            turn = turn._replace(message=turn.message + unescaped(text) + b"\n")
        elif mark == "<":
            turn = turn._replace(answer=turn.answer + unescaped(text) + b"\n")
        else:
            assert mark == "!", f"line {number}: {line}"
            turn = turn._replace(error=text)
        turns.append(turn)
    return turns


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_git_hears_what_the_transcript_says(path):
    """Every conversation that is written down goes as it is written."""
    git, table = load("git"), Table()
    turns = read(path)
    assert turns

    for turn in turns:
        answer, error = [], None
        try:
            request = git.parse(turn.action, bytearray(turn.message))
            answer = git.render(request, table.answer(request))
        except RequestError as refused:
            error = str(refused)

        assert (turn.line, turn.answer, turn.error) == (turn.line, b"".join(answer), error)


def test_there_are_transcripts():
    """The conversations are found where they lie."""
    assert "git-first-use" in {path.stem for path in TRANSCRIPTS}
