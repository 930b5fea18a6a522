"""A day of a user of git and a registry, written by the real service and log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from support.audit_chain import raw_lines
from support.rig import bring

from keylease.audit.line import parse
from keylease.errors import KeyleaseError
from keylease.model import Caller, Request, Target
from keylease.session.service import SessionService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.rig import Rig

    from keylease.audit.line import Record

GIT: Final = ("/usr/lib/git-core/git-remote-http", "/usr/bin/git")
CARGO: Final = ("/home/ada/.cargo/bin/cargo", "/usr/bin/bash")
CODE: Final = ("/usr/share/code/code", "/usr/bin/gnome-shell")
FORGE: Final = Target("web", "https", "git.example")
MIRROR: Final = Target("web", "https", "mirror.example:8443")
REGISTRY: Final = Target("web", "https", "packages.example", "private/index")
# Names from hostile servers and URLs: markup, and a character that reverses the text direction.
MARKUP: Final = Target("web", "https", "<script>alert(1)</script>.example")
TURNED: Final = Target("web", "https", "git.example\u202egro.live")
LONG: Final = Target("web", "https", "a" * 1000 + ".long.example")
MINUTE: Final = 60


class DayOfUse:
    """Writes the day in the steps of real tools and users.

    Args:
        rig: The service and its state; this moves its clock.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._caller = Caller(4711, *GIT, terminal=None)

    def write(self, days: int = 1) -> None:
        """Write that many days; the last one has no evening."""
        # FrozenClock begins at 14:13:20; days begin at 8.
        self._wait(18 * 60 * MINUTE - 13 * MINUTE - 20)
        for day in range(days):
            self._morning()
            self._noon()
            self._afternoon()
            if day < days - 1:
                self._wait(12 * 60 * MINUTE + (day % 3) * 11 * MINUTE)

    def _morning(self) -> None:
        self._bring(FORGE, GIT)
        for pause in (1, 4, 9, 12, 3, 14):
            self._wait(pause * MINUTE)
            self._get(FORGE, GIT)
        self._bring(REGISTRY, CARGO, "build")
        for _ in range(9):
            self._wait(2 * MINUTE)
            self._get(REGISTRY, CARGO)
        self._wait(16 * MINUTE)
        self._get(FORGE, GIT)  # it ended: idle
        self._get(FORGE, GIT)  # a second time: not found

    def _noon(self) -> None:
        self._bring(FORGE, CODE)
        for _ in range(12):
            self._wait(5 * MINUTE)
            self._get(FORGE, CODE)
        self._bring(MIRROR, GIT)
        for target in (MARKUP, TURNED, LONG):
            self._get(target, CODE)
        self._erase(MIRROR, GIT)
        self._wait(45 * MINUTE)

    def _afternoon(self) -> None:
        self._bring(FORGE, GIT)
        for number in range(30):
            self._wait(6 * MINUTE)
            self._get(FORGE, GIT if number % 3 else CODE)
            if number == 11:
                self._break()
                self._get(FORGE, GIT)  # its file was changed
                self._bring(FORGE, GIT, password=b"the next one")
        self._bring(MIRROR, GIT)
        self._wait(3 * MINUTE)

    def _bring(
        self, target: Target, caller: tuple[str, str], username: str = "ada", **brought: bytes
    ) -> None:
        self._as(caller)
        self._session().handle(bring(target, username=username, **brought))

    def _get(self, target: Target, caller: tuple[str, str]) -> None:
        self._as(caller)
        try:
            self._session().handle(Request("get", target))
        except KeyleaseError:
            return  # the refusal is in the log

    def _erase(self, target: Target, caller: tuple[str, str]) -> None:
        self._as(caller)
        self._session().handle(Request("erase", target))

    def _break(self) -> None:
        (path,) = self.rig.sealed()
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    def _wait(self, seconds: int) -> None:
        self.rig.clock.advance(seconds)

    def _session(self) -> SessionService:
        process = self.rig.again()
        return SessionService(lambda: process.begin(self._caller))

    def _as(self, caller: tuple[str, str]) -> None:
        self._caller = Caller(4711, *caller, terminal=None)


def records(rig: Rig) -> Iterator[Record]:
    """Yield every record of the log, ordered by number."""
    yield from map(parse, raw_lines(rig.path))
