"""Askers: remember which process has just received which secret.

A program that asks keylease-askpass does not report a wrong answer; it repeats the question.
`ssh-add` and git-lfs repeat it without end, and some servers lock an account after a few failures.
So one process gets one secret only once for the same question: `docs/decisions/`, 0027.

The record is one short file. It holds digests, and no secret, host or question. A forged line can
cause a refusal, but never an answer.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.model import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from keylease.model import Caller, Moment
    from keylease.statefile import Directory

FILE: Final = "asked"
SECONDS: Final = 60
"""How long an answer is remembered after the last question."""
LINES: Final = 64
"""How many answers are remembered; the oldest are dropped first."""

_LONGEST_FILE: Final = 64 * 256
_RELAYS: Final = 4
"""How many processes in a row may relay a question: a wrapper script, and git for git-lfs."""
_LONGEST_COMMAND: Final = 64 * 1024


class _Answer(NamedTuple):
    """One line of the file."""

    boot_ns: int
    boot: str
    whom: str
    what: str


class Asker:
    """The process that asks, and its question.

    Args:
        state: Opens the state directory.
        process: Identifies the process, even if its id is used again.
        question: Identifies the question.
    """

    def __init__(
        self, state: Callable[[], AbstractContextManager[Directory]], process: str, question: str
    ) -> None:
        self._state = state
        self._process = process
        self._question = question

    def was_answered(self, session: str, now: Moment) -> bool:
        """Return whether it has just received the secret of that session for this question.

        If so, the time starts again: a program that asks in a loop is refused until it pauses.

        Raises:
            StateError: the file cannot be read or written.
        """
        with self._state() as state:
            answers = _fresh(state.read(FILE, _LONGEST_FILE), now)
            if not any(self._is(each, session) for each in answers):
                return False
            self._write(state, answers, session, now)
            return True

    def record(self, session: str, now: Moment) -> None:
        """Record that it receives the secret of that session.

        Raises:
            StateError: the file cannot be written.
        """
        with self._state() as state:
            self._write(state, _fresh(state.read(FILE, _LONGEST_FILE), now), session, now)

    def _write(self, state: Directory, answers: list[_Answer], session: str, now: Moment) -> None:
        others = [each for each in answers if not self._is(each, session)]
        mine = _Answer(now.boot_ns, now.boot, self._process, self._what(session))
        lines = [" ".join(map(str, each)) for each in (*others[1 - LINES :], mine)]
        state.replace(FILE, "\n".join(lines).encode("ascii"))

    def _is(self, answer: _Answer, session: str) -> bool:
        return answer[2:] == (self._process, self._what(session))

    def _what(self, session: str) -> str:
        # With the session's id, the secret of a new login counts as a different answer.
        question = self._question.encode("utf-8", "surrogatepass")
        return hashlib.sha256(session.encode("ascii") + b" " + question).hexdigest()[:32]


def _fresh(packed: bytes | None, now: Moment) -> list[_Answer]:
    """Return the answers that are still remembered at `now`. Ignore malformed lines."""
    answers = []
    for line in (packed or b"").decode("ascii", "replace").splitlines():
        match line.split(" "):
            case [when, boot, whom, what] if when.isdecimal() and boot == now.boot:
                answer = _Answer(int(when[:20]), boot, whom, what)
                if 0 <= now.boot_ns - answer.boot_ns < SECONDS * NANOSECONDS:
                    answers.append(answer)
    return answers


if sys.platform == "linux":
    from keylease.audit.caller import caller_of, stat_numbers

    def asking(caller: Caller, question: str) -> str:
        """Return an identifier of the process that asks; skip processes that relay the question."""
        pid = caller.pid
        for _ in range(_RELAYS):
            words = _command(pid)
            numbers = stat_numbers(pid)
            above = numbers[0] if numbers else 0
            if not above or not (question in words[1:] or _is_git_credential(words)):
                break
            pid = above
        return caller_of(pid).process

    def _is_git_credential(words: list[str]) -> bool:
        # git-lfs runs a new `git credential fill` for each try, with the URL on stdin.
        return os.path.basename(words[0]) == "git" and "credential" in words[1:]

    def _command(pid: int) -> list[str]:
        # proc_pid_cmdline(5): the words of the command line, a NUL after each.
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return os.fsdecode(file.read(_LONGEST_COMMAND)).split("\0")
        except OSError:
            return [""]

else:

    def asking(caller: Caller, question: str) -> str:
        """Return an identifier of the caller; relays cannot be skipped on this platform."""
        del question
        return caller.process
