"""No copy of a secret is left in any tool's helper: at its end, and between two messages.

test_memory.py describes the search. The protocols here are all but git's. Each writes the secret in
another way: in JSON, in base64 in a header, alone.
"""

from __future__ import annotations

import base64
import json
import os
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.memory_scan import (
    PASSWORD,
    STORE,
    credential,
    keys,
    left,
    needles,
    require_scan,
    stopped_at_its_end,
)
from support.waiting import wait_until_it_wants_more

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.memory_scan import Needle, Scan
    from support.throwaway import Throwaway

HOST = "registry.example"
INDEX = f"sparse+https://{HOST}/index/"
TEXT = PASSWORD.decode()
LOGIN = PASSWORD + b"\n"
USER = b"alice"


class Step(NamedTuple):
    """One start of a program, with all its input."""

    words: tuple[str, ...]
    stdin: bytes = b""


class Tool(NamedTuple):
    """How a tool stores, gets and erases its secret, or which command stores it instead."""

    before: Step | None
    """Starts the session if the tool itself cannot: a person's command, or git's."""
    steps: tuple[Step, ...]
    """The runs that are searched. Only the answer to `get` has the secret."""
    said: bytes = PASSWORD
    """The secret in this tool's encoding."""


def cargo(kind: str, **members: str) -> bytes:
    """Return one line of cargo's."""
    line = {"v": 1, "registry": {"index-url": INDEX}, "kind": kind, **members}
    return json.dumps(line).encode() + b"\n"


def login(tool: str, name: str, *words: str) -> Step:
    """Return the command with which a person starts a tool's session."""
    return Step(("keylease", "login", "--tool", tool, name, "--password-stdin", *words), LOGIN)


DOCKER = "docker-credential-keylease"
CARGO = ("cargo-credential-keylease", "--cargo-plugin")
TERRAFORM = "terraform-credentials-keylease"
GIT = Step(("git-credential-keylease", "store"), STORE)
URL = f"https://{HOST}"
# A JSON writer may escape any letter.
ESCAPED = json.dumps({"ServerURL": URL, "Username": "alice", "Secret": TEXT}).replace(
    TEXT[:9], "".join(f"\\u{ord(letter):04x}" for letter in TEXT[:9])
)
BASIC = base64.b64encode(USER + b":" + PASSWORD)
TOOLS = {
    "docker": Tool(
        None,
        (
            Step((DOCKER, "store"), ESCAPED.encode()),
            Step((DOCKER, "get"), URL.encode()),
            Step((DOCKER, "list"), b"unused"),
            Step((DOCKER, "erase"), URL.encode()),
        ),
    ),
    "cargo": Tool(
        None,
        (
            Step(CARGO, cargo("login", token=TEXT)),
            Step(CARGO, cargo("get", operation="read")),
            Step(CARGO, cargo("logout")),
        ),
    ),
    "terraform": Tool(
        None,
        (
            Step((TERRAFORM, "store", HOST), json.dumps({"token": TEXT}).encode()),
            Step((TERRAFORM, "get", HOST)),
            Step((TERRAFORM, "forget", HOST)),
        ),
    ),
    "vault": Tool(
        None,
        (
            Step(("keylease-vault", "store"), PASSWORD),
            Step(("keylease-vault", "get")),
            Step(("keylease-vault", "erase")),
        ),
    ),
    "aws": Tool(login("aws", "prod", "--username", "AKIA"), (Step(("keylease-aws", "prod")),)),
    "kubernetes": Tool(login("kubernetes", URL), (Step(("keylease-kubernetes", URL)),)),
    "pnpm": Tool(login("pnpm", URL), (Step(("keylease-pnpm", URL)),), said=b"Bearer " + PASSWORD),
    "go": Tool(GIT, (Step(("keylease-goauth", "https://example.com")),), said=b"Basic " + BASIC),
    "read": Tool(GIT, (Step(("keylease", "read", "https://example.com")),)),
    "askpass": Tool(
        GIT, (Step(("keylease-askpass", "Password for 'https://alice@example.com': ")),)
    ),
    "bazel": Tool(
        GIT,
        (Step(("keylease-bazel", "get"), b'{"uri":"https://example.com/cache"}'),),
        said=b"Basic " + BASIC,
    ),
}


@pytest.fixture(autouse=True)
def _scanner() -> None:
    """Prove before every test here that a secret would be found."""
    require_scan()


def wanted(home: Throwaway) -> list[Needle]:
    """Return all search patterns. The header has its own base64, which begins with the user."""
    header = USER + b":" + PASSWORD
    return credential() + needles("header", header) + keys(home)


def operate(home: Throwaway, step: Step) -> tuple[Scan, bytes]:
    """Run one program to its end, and search it for every secret that it handled."""
    program, *words = step.words
    with stopped_at_its_end(
        [home.find(program) or "", *words],
        stdin=step.stdin,
        environment=home.environment,
        directory=str(home.home),
    ) as traced:
        return traced.scan(wanted(home)), traced.answer()


@pytest.mark.parametrize("name", TOOLS)
def test_nothing_is_left_after_an_answer(home: Throwaway, name: str) -> None:
    """No password, key or share is left in the memory of any helper, whatever its tool asked."""
    tool = TOOLS[name]
    home.environment["VAULT_ADDR"] = URL
    if tool.before is not None:
        done = home.run(*tool.before.words, stdin=tool.before.stdin.decode())
        assert 0 == done.returncode, done.stderr

    places, answers = [], []
    for step in tool.steps:
        found, answer = operate(home, step)
        assert {"password", "header", "vault key", "audit key"} <= found.hits.keys()
        places += left(found)
        answers.append(tool.said in answer)

    assert [] == places
    expected = [True] if tool.before else [False, True, *([False] * (len(tool.steps) - 2))]
    assert expected == answers


@contextmanager
def conversation(home: Throwaway) -> Iterator[Popen[bytes]]:
    """Yield cargo's helper after the greeting. Its user may trace it, so that the test can look."""
    environment = home.environment | {"KEYLEASE_DUMPABLE": "1"}
    words = [home.find(CARGO[0]) or "", *CARGO[1:]]
    with Popen(words, stdin=PIPE, stdout=PIPE, env=environment, bufsize=0) as peer:
        assert peer.stdout is not None
        assert b'{"v":[1]}\n' == peer.stdout.readline()
        try:
            yield peer
        finally:
            peer.kill()


def search_waiting(peer: Popen[bytes], searched: list[Needle]) -> Scan:
    """Return what a search finds in a process that waits for its next message."""
    from keylease.cli.doctor.scan import scan  # noqa: PLC0415 - not on every platform

    assert peer.stdin is not None
    wait_until_it_wants_more(peer.pid, peer.stdin.fileno())
    memory, maps = (os.open(f"/proc/{peer.pid}/{file}", os.O_RDONLY) for file in ("mem", "maps"))
    try:
        return scan(maps, memory, searched)
    finally:
        os.close(memory)
        os.close(maps)


def test_nothing_is_left_between_two_messages(home: Throwaway) -> None:
    """While cargo compiles, its helper waits for the next message and holds no secret."""
    with conversation(home) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        places = []
        for line, expected in (
            (cargo("login", token=TEXT), b'"kind":"login"'),
            (cargo("get", operation="read"), PASSWORD),
            (cargo("login", token=f"{TEXT}\n"), b'"kind":"login"'),
            (cargo("get", operation="read").replace(b'"v": 1', b'"v": 2'), b'"Err"'),
        ):
            peer.stdin.write(line)
            assert expected in peer.stdout.readline()
            # A helper that has read the blank is done with the message before it.
            peer.stdin.write(b" ")
            places += left(search_waiting(peer, wanted(home)))
        peer.stdin.write(cargo("login", token=TEXT)[:-1])
        control = search_waiting(peer, credential())
        assert control.hits["password"], "the control: half a message is in its memory"

    assert [] == places
    assert all("anonymous" in place for place in control.places), "it is in the arena, only there"
