r"""Conversations with the peers, as tests/transcripts/PEER-*.txt tell them.

A transcript is plain text: `#` begins a remark, `@` a variable of the environment for the next
operation, `$` the arguments, `>` a line from the peer, `<` a line of the answer, `!` what was wrong
with the question, `=` the exit code where it is neither 0 nor, after a `!`, 1. No `<` is silence.
`\r`, `\0`, `\x..` and `\\` stand for bytes. Sessions are numbered from 1 and end at 2000000000.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from keylease.errors import KeyleaseError, RequestError, SessionNotFoundError, UsageError
from keylease.model import Listing, Moment, Reply, Session
from keylease.protocols.base import Call
from keylease.protocols.peers import load
from keylease.secrets.secret import Secret

TRANSCRIPTS = sorted((Path(__file__).parents[2] / "transcripts").glob("*-*.txt"))
ESCAPE = re.compile(rb"\\(r|0|\\|x[0-9a-f]{2})")


class Turn(NamedTuple):
    """One operation: the peer's message, and the expected answer."""

    line: int
    arguments: tuple[str, ...]
    environment: dict[str, str]
    message: bytes = b""
    answer: bytes = b""
    error: str | None = None
    code: int = 0


class Table:
    """The smallest session table: no clock, no files, no keys."""

    def __init__(self):
        self.replies = []
        self.count = 0

    def matching(self, request):
        """Return the sessions that match the request, the newest first."""
        return [
            reply
            for reply in reversed(self.replies)
            if request.target._replace(path=None) == reply.session.target._replace(path=None)
            and request.target.path in (None, reply.session.target.path)
            and request.username in (None, reply.session.username)
        ]

    def answer(self, request):
        """Do the operation and return its answer, if it has one."""
        if request.target is None:
            return self.listing(request)
        found = self.matching(request)
        if request.action == "get":
            if not found:
                msg = "there is no session"
                raise SessionNotFoundError(msg)
            return found[0]
        if request.action == "erase":
            for reply in found:
                wanted = request.credential
                if wanted is None or wanted.secret.matches(reply.credential.secret):
                    self.replies.remove(reply)
        elif request.credential is not None and not request.ephemeral and not request.echoes:
            for reply in found:
                is_same = (request.target, request.username) == reply.session[1:3]
                if is_same or request.replace_other_users:
                    self.replies.remove(reply)
            self.create(request)
        return None

    def listing(self, request):
        """Return the sessions of the namespace if the peer lists them."""
        held = [reply.session for reply in self.replies]
        chosen = tuple(each for each in held if each.target.namespace == request.namespace)
        return Listing(chosen) if request.action == "list" else None

    def create(self, request):
        """Store the request's credential."""
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
    turns, environment = [], {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, text = line[:1], line[2:]
        if mark in {"", "#"}:
            continue
        if mark == "@":
            name, _, value = text.partition("=")
            environment[name] = value
            continue
        if mark == "$":
            turns.append(Turn(number, tuple(text.split()), environment))
            environment = {}
            continue
        turn = turns.pop()
        if mark == ">":
            turn = turn._replace(message=turn.message + unescaped(text) + b"\n")
        elif mark == "<":
            turn = turn._replace(answer=turn.answer + unescaped(text) + b"\n")
        elif mark == "=":
            turn = turn._replace(code=int(text))
        else:
            assert mark == "!", f"line {number}: {line}"
            turn = turn._replace(error=text, code=1)
        turns.append(turn)
    return turns


def held(protocol, table, turn):
    """Return the answer, what was wrong with the question, and the exit code."""
    request = None
    try:
        request = protocol.parse(Call(turn.arguments, turn.environment, bytearray(turn.message)))
        return b"".join(protocol.render(request, table.answer(request))), None, 0
    except KeyleaseError as error:
        refusal = protocol.refuse(error, request)
        wrong = str(error) if isinstance(error, RequestError | UsageError) else None
        return refusal.reply, wrong, refusal.exit_code


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_peer_hears_what_the_transcript_says(path):
    """Every transcript gets exactly the answers that are written in it."""
    protocol, table = load(path.stem.partition("-")[0]), Table()
    turns = read(path)
    assert turns

    for turn in turns:
        heard = held(protocol, table, turn)

        assert (turn.line, turn.answer, turn.error, turn.code) == (turn.line, *heard)


def test_there_are_transcripts():
    """The transcripts exist, so the test above is not empty."""
    found = {path.stem for path in TRANSCRIPTS}

    assert {"git-first-use", "docker-login", "cargo-login"} <= found
