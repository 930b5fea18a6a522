"""The programs that cargo, AWS programs and Kubernetes clients run, as processes."""

from __future__ import annotations

import json
import signal
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("the standard library has no terminal to test with here", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.throwaway import Throwaway

INDEX = "sparse+https://registry.example/index/"
REGISTRY = {"v": 1, "registry": {"index-url": INDEX}}
TOKEN = "correct-horse"


def say(peer: Popen[bytes], **members: object) -> dict[str, dict[str, object]]:
    """Write one line as cargo does, and return the answer to it."""
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(json.dumps(REGISTRY | members).encode() + b"\n")
    peer.stdin.flush()
    answer: dict[str, dict[str, object]] = json.loads(peer.stdout.readline())
    return answer


@pytest.fixture
def terminal() -> Iterator[PseudoTerminal]:
    """Return a terminal that the test controls."""
    with PseudoTerminal() as opened:
        yield opened


def test_cargo_is_greeted_and_answered_line_by_line(kernel_home: Throwaway) -> None:
    """One process serves a whole conversation, and exits with success when cargo closes its end."""
    program = kernel_home.find("cargo-credential-keylease") or ""
    with Popen(
        [program, "--cargo-plugin"],
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=kernel_home.environment,
    ) as peer:
        assert peer.stdout is not None
        assert b'{"v":[1]}\n' == peer.stdout.readline(), "the greeting comes before any question"

        assert {"Err": {"kind": "not-found"}} == say(peer, kind="get")
        assert {"Ok": {"kind": "login"}} == say(peer, kind="login", token=TOKEN)
        assert TOKEN == say(peer, kind="get", operation="read")["Ok"]["token"]
        assert "other" == say(peer, kind="login", token="")["Err"]["kind"]
        assert {"Ok": {"kind": "logout"}} == say(peer, kind="logout")
        assert {"Err": {"kind": "not-found"}} == say(peer, kind="get")
        said, complaints = peer.communicate(timeout=WAIT_SECONDS)

    assert (b"", 0) == (said, peer.returncode)
    assert b"has ended: logout" in complaints or b"" == complaints


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("cargo-credential-keylease",), "usage: cargo-credential-keylease --cargo-plugin"),
        (("keylease-aws",), "usage: keylease-aws NAME"),
        (("keylease-kubernetes",), "usage: keylease-kubernetes [SERVER]"),
    ],
)
def test_a_wrong_command_line_is_told_how_it_should_be(
    kernel_home: Throwaway, words: tuple[str, ...], usage: str
) -> None:
    """A user who starts a helper by hand reads its usage on stderr, and it does not wait."""
    done = kernel_home.run(*words)

    assert (2, "") == (done.returncode, done.stdout)
    assert usage == done.stderr.splitlines()[-1]
    assert not kernel_home.state.exists()


def test_cargo_leaves_the_question_for_a_token_to_the_helper(
    kernel_home: Throwaway, terminal: PseudoTerminal
) -> None:
    """The helper asks for the token on the terminal without echo, because the pipes are cargo's."""
    program = kernel_home.find("cargo-credential-keylease") or ""
    line = json.dumps(REGISTRY | {"kind": "login"}).encode() + b"\n"
    process = terminal.start([program, "--cargo-plugin"], kernel_home.environment, PIPE)
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()
    terminal.wait_for("Token for https://registry.example/index: ")
    assert not terminal.echoes

    terminal.type(TOKEN.encode() + b"\n")
    code, said, _ = terminal.finish(process)

    assert (0, '{"v":[1]}\n{"Ok":{"kind":"login"}}\n') == (code, said)
    assert TOKEN.encode() not in terminal.shown
    assert terminal.echoes


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_at_the_question_gives_the_terminal_back(
    kernel_home: Throwaway, terminal: PseudoTerminal, name: str
) -> None:
    """After a signal ends the helper at its prompt, the terminal echoes again."""
    program = kernel_home.find("cargo-credential-keylease") or ""
    process = terminal.start([program, "--cargo-plugin"], kernel_home.environment, PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(REGISTRY | {"kind": "login"}).encode() + b"\n")
    process.stdin.flush()
    terminal.wait_for("Token for ")
    assert not terminal.echoes, "the control: it was off"

    process.send_signal(getattr(signal, name))
    code, _, complaints = terminal.finish(process)

    assert (-getattr(signal, name), "") == (code, complaints)
    assert terminal.echoes


def test_an_interrupt_at_the_question_gives_the_terminal_back(
    kernel_home: Throwaway, terminal: PseudoTerminal
) -> None:
    """Ctrl-C ends cargo and the helper, and the terminal echoes again."""
    program = kernel_home.find("cargo-credential-keylease") or ""
    process = terminal.start([program, "--cargo-plugin"], kernel_home.environment, PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(REGISTRY | {"kind": "login"}).encode() + b"\n")
    process.stdin.flush()
    terminal.wait_for("Token for ")

    terminal.type(b"half\x03")
    code, _, complaints = terminal.finish(process)

    assert (-signal.SIGINT, "") == (code, complaints)
    assert terminal.echoes
