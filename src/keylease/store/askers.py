"""Which program was given which secret a moment ago, so that it is not given a refused one again.

A program that asks keylease-askpass does not say that the last answer was wrong: it asks again.
`ssh-add` and git-lfs do so without end, and each try counts at a server that locks accounts. So
the same process gets the same secret for the same question once: `docs/decisions/`, 0027.

One file of a few lines. It holds no secret, no host and no question, only a digest. Believing a
forged line refuses an answer, and gives none.
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
"""How long after its last question a process is not given the same secret again."""
LINES: Final = 64
"""How many answers are remembered; the oldest ones go first."""

_LONGEST_FILE: Final = 64 * 256
_RELAYS: Final = 4
"""How many processes in a row may pass a question on: a wrapper, and git for git-lfs."""
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
        process: Names the process, so that no later one is taken for it.
        question: What tells the question from others.
    """

    def __init__(
        self, state: Callable[[], AbstractContextManager[Directory]], process: str, question: str
    ) -> None:
        self._state = state
        self._process = process
        self._question = question

    def was_answered(self, session: str, now: Moment) -> bool:
        """Return whether it was given the secret of that session for this question a moment ago.

        If so, that moment counts from now: a program that asks in a loop is refused until it rests.

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
        """Write down that it is given the secret of that session.

        Raises:
            StateError: it cannot be written.
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
        # The session's id makes a new login with another secret another answer.
        question = self._question.encode("utf-8", "surrogatepass")
        return hashlib.sha256(session.encode("ascii") + b" " + question).hexdigest()[:32]


def _fresh(packed: bytes | None, now: Moment) -> list[_Answer]:
    """Return the answers that count at `now`. What is not a line of ours is none."""
    answers = []
    for line in (packed or b"").decode("ascii", "replace").splitlines():
        match line.split(" "):
            case [when, boot, whom, what] if when.isdecimal() and boot == now.boot:
                answer = _Answer(int(when[:20]), boot, whom, what)
                if 0 <= now.boot_ns - answer.boot_ns < SECONDS * NANOSECONDS:
                    answers.append(answer)
    return answers


if sys.platform == "linux":
    from keylease.audit.caller import process_name, stat_numbers

    def asking(caller: Caller, question: str) -> str:
        """Return what names the process that asks, behind those that only pass the question on."""
        pid = caller.pid
        for _ in range(_RELAYS):
            words = _command(pid)
            numbers = stat_numbers(pid)
            above = numbers[0] if numbers else 0
            if not above or not (question in words[1:] or _is_git_credential(words)):
                break
            pid = above
        return process_name(pid)

    def _is_git_credential(words: list[str]) -> bool:
        # git-lfs runs a new `git credential fill` for each try, and tells it the URL on stdin.
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
        """Return what names the caller; this platform tells no more cheaply."""
        del question
        return caller.process
