"""`keylease status --watch`: a countdown that asks little and says what is true."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as Terminal

from keylease.cli.base import Program
from keylease.cli.report import survey
from keylease.cli.status import _below
from keylease.cli.watch import LOOK_SECONDS, watch
from keylease.errors import SessionEndedError

URL = "https://git.example"


class Screen(io.StringIO):
    """A terminal that remembers all that was written."""

    def isatty(self):
        """Say that it is one."""
        return True


class Watching:
    """One run of the countdown, in which a test decides what happens between two seconds."""

    def __init__(self, console, **terminal):
        self.screen = Screen()
        self.terminal = Terminal(
            file=self.screen, width=80, height=40, force_terminal=True, **terminal
        )
        self.looks = 0
        self.frames = []
        self._console = console

    def run(self, *events, one=None):
        """Run for one second more than there are events; each happens within a second."""
        pending = list(events)

        def look():
            self.looks += 1
            return survey(Program(), one)

        def pause():
            self.frames.append(self.screen.getvalue())
            self.screen.seek(0)
            self.screen.truncate()
            if not pending:
                raise KeyboardInterrupt
            event = pending.pop(0)
            self._console.clock.advance(1)
            if event is not None:
                event()

        with pytest.raises(KeyboardInterrupt):
            self.watch(look, pause, one)
        return self.frames

    def watch(self, look, pause, one):
        """Start."""
        clock = self._console.clock
        watch(self.terminal, look, _below, one=one is not None, clock=clock, pause=pause)


@pytest.fixture
def watching(console):
    """Return a countdown without colour."""
    return Watching(console, color_system=None)


def test_countdown_shows_idle_and_cap_of_each_session(console, watching):
    """The watch shows the session and both of its limits."""
    console.login(URL, "ada")

    first, second = watching.run(None)

    assert "https://git.example as ada" in first
    assert "15 min of 15 min" in first
    assert "8 h of 8 h" in first
    assert "14 min 59 s of 15 min" in second
    assert "7 h 59 min of 8 h" in second
    assert "keychain: memory of this process (memory)" in second


def test_bar_shortens_with_the_time(console, watching):
    """Without colour the length alone tells."""
    console.login(URL, "ada")

    frames = watching.run(None, lambda: console.clock.advance(450))

    lengths = [frame.count("━") for frame in frames]
    assert lengths[0] >= lengths[1] > lengths[2] > lengths[0] // 2


def test_seconds_cost_no_look_at_the_sessions(console, watching):
    """The keychain is asked once, not once a second."""
    console.login()

    watching.run(*[None] * (LOOK_SECONDS - 1))

    assert 1 == watching.looks


def test_now_and_then_the_sessions_are_looked_at(console, watching):
    """A key that is deleted in the keychain changes no file, and is noticed all the same."""
    console.login()

    frames = watching.run(console.revoke, *[None] * LOOK_SECONDS)

    assert 2 <= watching.looks <= 3
    assert "no live session" not in frames[LOOK_SECONDS - 1]
    assert "generation 1, revoked" in frames[-1]
    assert "keylease: error: the vault key " in frames[-1]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("extend", URL), "15 min of 15 min"),
        (("logout", URL), "no live session"),
    ],
)
def test_what_another_process_does_is_shown_at_once(console, watching, words, shown):
    """A use and an end are on the screen within the second."""
    console.login()
    console.clock.advance(60)

    def happen():
        assert 0 == console.run(*words).code

    before, after = watching.run(happen)

    assert "14 min of 15 min" in before
    assert shown in after


def test_first_login_is_shown(console, watching):
    """A watch without sessions shows the first one that starts."""
    before, after = watching.run(console.login)

    assert "no live session" in before
    assert URL in after


def test_end_of_a_session_is_shown(console, watching):
    """When its time is over it is gone from the screen and from the disk."""
    console.login()

    def wait():
        console.clock.advance(899)

    frames = watching.run(wait)

    assert "no live session" in frames[-1]
    assert [] == list(console.state.glob("sessions/*/*.sealed"))


def test_watching_uses_no_session(console, watching):
    """A terminal that is left open keeps nothing alive."""
    console.login()

    watching.run(*[None] * 70)

    assert 830 == console.status()["sessions"][0]["idle_seconds_left"]


def test_end_of_the_watched_session_is_the_end(console):
    """A script that waits for the end of one session gets the code for it."""
    console.login()
    watching = Watching(console, color_system=None)
    wanted = address_of(URL)

    def pause():
        console.clock.advance(300)

    with pytest.raises(SessionEndedError):
        watching.watch(lambda: survey(Program(), wanted), pause, wanted)


def address_of(url):
    """Return the address of a URL."""
    from keylease.cli import address  # noqa: PLC0415 - only here

    return address.read(url)


def test_names_are_escaped_and_no_markup(console, watching):
    """A stored name writes itself, and neither colours nor escapes."""
    console.login("https://git.example/[red]\u202ex[/]", ":smile:\u2028")

    [frame] = watching.run()

    assert "https://git.example/[red]\\u202ex[/] as :smile:\\u2028" in frame
    assert "\u202e" not in frame


def test_nothing_is_hidden_that_would_have_to_be_shown_again(console, watching):
    """Whatever kills the program, the terminal is as it was: its cursor is never left hidden."""
    console.login()

    first, second = watching.run(None)

    assert first.rfind("\x1b[?25h") > first.rfind("\x1b[?25l")
    assert "\x1b[?25l" not in second
    assert "\x1b[?1049h" not in first + second


@pytest.mark.parametrize(("left", "colour"), [(900, "32"), (200, "33"), (60, "31")])
def test_colour_says_how_near_the_end_is(console, left, colour):
    """Green, yellow and red, where a terminal has colours."""
    console.login()
    console.clock.advance(900 - left)

    [frame] = Watching(console, color_system="standard").run()

    idle = next(line for line in frame.splitlines() if " idle " in line)
    assert f"\x1b[{colour}m" in idle


def test_no_color_is_respected(console, monkeypatch):
    """https://no-color.org: with NO_COLOR there is none."""
    monkeypatch.setenv("NO_COLOR", "1")
    console.login()

    [frame] = Watching(console, color_system="standard").run()

    assert "15 min of 15 min" in frame
    assert not any(f"\x1b[{code}m" in frame for code in (31, 32, 33))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--watch",), "--watch needs a terminal that can overwrite lines, and stdout is not one"),
        (("--watch", "--json"), "--watch and --json exclude each other"),
    ],
)
def test_without_a_terminal_it_refuses(console, words, error):
    """A script that writes to a file does not get a file that grows for ever."""
    said = console.run("status", *words)

    assert (2, "") == (said.code, said.out)
    assert f"keylease: error: {error}\n" in said.err


def test_locked_keychain_is_shown_and_not_the_end(console, watching):
    """The countdown goes on when the keychain is unlocked."""
    console.login()
    console.keystore.lock()

    frames = watching.run(console.keystore.recover, *[None] * LOOK_SECONDS)

    assert "1 sealed session waits for the keychain; nothing was deleted" in frames[0]
    assert URL in frames[-1]
