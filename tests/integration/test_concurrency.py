"""Many processes at once, and killed processes: nothing is lost, nothing is half-written."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.groups import OF_ITS_OWN, end_group
from support.share import part_of
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.throwaway import Throwaway

WRITERS = 40


def question(number: int, **more: str) -> bytes:
    """Return a request for one of many hosts."""
    fields = {"protocol": "https", "host": f"host-{number}.example", **more}
    return "".join(f"{key}={value}\n" for key, value in fields.items()).encode()


def storing(number: int) -> bytes:
    """Return a message that stores that host's credential."""
    return question(number, username="alice", password=f"secret-{number}")


def at_once(home: Throwaway, asked: Iterable[tuple[str, bytes]]) -> list[tuple[int, bytes]]:
    """Start one helper for each question, then answer them all; return exit codes and answers."""
    helpers = []
    for operation, message in asked:
        helper = subprocess.Popen(
            [home.find("git-credential-keylease") or "", operation],
            env=home.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        helpers.append((helper, message))
    # All processes run and wait for their message. Release them together.
    for helper, message in helpers:
        assert helper.stdin is not None
        helper.stdin.write(message)
        helper.stdin.close()
        helper.stdin = None
    answers = [helper.communicate(timeout=WAIT_SECONDS)[0] for helper, _ in helpers]
    return [
        (helper.returncode, answer) for (helper, _), answer in zip(helpers, answers, strict=True)
    ]


def assert_log_is_whole(home: Throwaway) -> None:
    """Every line parses, the numbers have no gap, and each line chains to the one before it."""
    prev, seq = "0" * 64, 0
    for day in sorted((home.state / "audit").glob("*.jsonl")):
        for line in day.read_bytes().splitlines(keepends=True):
            seq += 1
            assert f'{{"seq":{seq},'.encode() == line[: len(f'{{"seq":{seq},')]
            assert f'"prev":"{prev}"'.encode() in line
            prev = hashlib.sha256(line).hexdigest()
    assert seq > 0


def test_first_stores_at_once_make_one_vault(home: Throwaway) -> None:
    """40 concurrent first stores make one vault, and every accepted credential is whole.

    A helper answers or refuses within 2 s. A slow machine may therefore refuse some of the 40. A
    refused store leaves nothing behind and succeeds when repeated.
    """
    stored = at_once(home, (("store", storing(number)) for number in range(WRITERS)))
    refused = [number for number, (code, _) in enumerate(stored) if code]
    again = [home.run("keylease", "store", stdin=storing(n).decode()) for n in refused]
    got = [home.run("keylease", "get", stdin=question(n).decode()) for n in range(WRITERS)]

    assert {(0, b"")} <= set(stored) <= {(0, b""), (1, b"")}
    assert [0] * len(refused) == [answer.returncode for answer in again]
    assert [f"username=alice\npassword=secret-{n}\n" for n in range(WRITERS)] == [
        answer.stdout for answer in got
    ]
    events = [line["event"] for line in home.audit()]
    assert 1 == events.count("vault.created")
    assert WRITERS == events.count("session.created")
    assert_log_is_whole(home)


def test_writers_and_readers_of_one_host(kernel_home: Throwaway) -> None:
    """Readers of a host that is being written get the old or the new credential, always whole.

    A slow machine may refuse some of the readers, which then get no answer.
    """
    kernel_home.run("keylease", "store", stdin=storing(0).decode())
    versions = [question(0, username="alice", password=f"version-{n}") for n in range(10)]
    mixed = [("store", version) for version in versions] + [("get", question(0))] * 30
    random.Random(7).shuffle(mixed)

    answers = at_once(kernel_home, mixed)

    allowed = {b"secret-0", *(b"version-%d" % n for n in range(10))}
    assert any(code == 0 and answer for code, answer in answers)
    for (operation, _), (code, answer) in zip(mixed, answers, strict=True):
        if code or operation == "store":
            assert b"" == answer
        else:
            assert answer.removeprefix(b"username=alice\npassword=").rstrip(b"\n") in allowed
    assert 1 == len(list(kernel_home.state.rglob("*.sealed")))
    assert_log_is_whole(kernel_home)


@pytest.mark.parametrize("operation", ["store", "get"])
def test_killed_at_any_moment_leaves_old_or_new(kernel_home: Throwaway, operation: str) -> None:
    """After `kill -9` during a store, the next get returns the old or the new secret, whole."""
    chance = random.Random(11)
    kernel_home.run("keylease", "store", stdin=storing(0).decode())
    killed = 0
    # Draw the moments for all rounds first, so that they are the same in every run.
    moments = [(round_, chance.uniform(0.0, 0.15)) for round_ in range(60)]
    for round_, moment in part_of(moments):
        helper = subprocess.Popen(
            [kernel_home.find("git-credential-keylease") or "", operation],
            env=kernel_home.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert helper.stdin is not None
        message = question(0, username="alice", password=f"round-{round_}")
        helper.stdin.write(message if operation == "store" else question(0))
        helper.stdin.close()
        helper.stdin = None
        # This is not a wait for a state: the moment of the kill is the random variable.
        try:
            helper.wait(timeout=moment)
        except subprocess.TimeoutExpired:
            os.kill(helper.pid, signal.SIGKILL)
            killed += 1
        answer, _ = helper.communicate(timeout=WAIT_SECONDS)
        if operation == "get":
            assert answer == b"" or answer.endswith(b"\n")

        got = kernel_home.run("keylease", "get", stdin=question(0).decode())
        assert 0 == got.returncode
        assert got.stdout.startswith("username=alice\npassword=")
        assert got.stdout.removeprefix("username=alice\npassword=").rstrip("\n") in {
            "secret-0",
            *(f"round-{n}" for n in range(round_ + 1)),
        }
    assert killed > 0, "the control: some helpers died in the middle"
    assert_log_is_whole(kernel_home)


def test_stopped_process_blocks_nobody_for_long(kernel_home: Throwaway) -> None:
    """While a stopped process holds the lock, others refuse; they continue once it is killed."""
    kernel_home.run("keylease", "store", stdin=storing(0).decode())
    holder = subprocess.Popen(
        ["flock", "--exclusive", str(kernel_home.state / "sessions" / "lock"), "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=OF_ITS_OWN,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"held\n")
        holder.stdin.flush()
        assert b"held\n" == holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)

        blocked = kernel_home.run("keylease", "get", stdin=question(0).decode(), timeout_seconds=20)
        end_group(holder)  # cat inherited the lock, too
    freed = kernel_home.run("keylease", "get", stdin=question(0).decode())

    assert (1, "", "") == (blocked.returncode, blocked.stdout, blocked.stderr)
    assert "state" == next(
        line["reason"] for line in reversed(kernel_home.audit()) if line["outcome"] == "refused"
    )
    assert "password=secret-0\n" in freed.stdout
