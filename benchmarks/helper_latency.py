"""Measure the cost of one answer of the helper: a whole process, from its start to its exit.

git starts a helper twice for every command that needs a password, so the whole process counts, not
the function inside it. All programs run in turns in the same run: a busy machine slows all of them,
and the ratios stay. The benchmark only reports: a number alone is no reason to fail.

It works in a throwaway HOME, with an invented credential.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.throwaway import Throwaway  # noqa: E402 (after the line above)

REQUEST = "protocol=https\nhost=git.example\n"
CREDENTIAL = f"{REQUEST}username=ada\npassword=made-up\n\n"
ANSWER = "password=made-up"
PASSED_ON = ("DBUS_SESSION_BUS_ADDRESS", "KEYLEASE_KEYCHAIN")


class Peer(NamedTuple):
    """One program that runs once in every round."""

    name: str
    words: tuple[str, ...]
    request: str = ""
    answer: str = ""
    """The answer must contain this text; a fast failure must not count as a fast answer."""


def find_peers(home: Throwaway) -> list[Peer]:
    """Store the credential in every helper of this machine; return those that answer with it."""
    python = sys.executable
    peers = [
        Peer("python -I -S -c pass", (python, "-I", "-S", "-c", "pass")),
        Peer("python -c pass", (python, "-c", "pass")),
        Peer("python -c 'import keyring'", (python, "-c", "import keyring")),
    ]
    helpers = {
        "git credential-store": ("git", "credential-store"),
        "git credential-cache": ("git", "credential-cache"),
        "git-credential-keylease": ("git-credential-keylease",),
        "keylease": ("keylease",),
    }
    for name, words in helpers.items():
        if home.find(words[0]) is not None:
            home.run(*words, "store", stdin=CREDENTIAL)
            peers.append(Peer(f"{name} get", (*words, "get"), f"{REQUEST}\n", ANSWER))
    vault = home.vault()
    if vault is not None and vault["keychain"] == "secret-service":
        # Reads only the key, without a session: this is the keychain's part of the time.
        backend = "keyring.backends.SecretService.Keyring"
        words = (python, "-m", "keyring", "-b", backend, "get", home.service(), "keylease")
        peers.append(Peer("keyring get (the key alone)", words))
    return [peer for peer in peers if answers(home, peer)]


def answers(home: Throwaway, peer: Peer) -> bool:
    """Return whether the peer works on this machine; print a line if it does not."""
    done = home.run(*peer.words, stdin=peer.request)
    works = done.returncode == 0 and peer.answer in done.stdout
    if not works:
        print(f"left out, it does not answer here: {peer.name}")
    return works


def measure(home: Throwaway, peers: list[Peer], rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of every round, by the name of the peer."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    programs = {peer.name: str(home.find(peer.words[0])) for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            start = time.perf_counter()
            done = subprocess.run(
                [programs[peer.name], *peer.words[1:]],
                input=peer.request.encode(),
                cwd=home.home,
                env=home.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            times[peer.name].append((time.perf_counter() - start) * 1000)
            if peer.answer.encode() not in done.stdout:
                msg = f"{peer.name} stopped answering"
                raise RuntimeError(msg)
    return times


def show(times: dict[str, list[float]]) -> None:
    """Print the table, fastest first. The ratio is to a Python that does nothing."""
    base = statistics.median(times["python -c pass"])
    print(f"{'program':<30} {'median ms':>10} {'9 of 10 ms':>11} {'x python':>9}")
    for name, values in sorted(times.items(), key=lambda each: statistics.median(each[1])):
        median = statistics.median(values)
        slow = statistics.quantiles(values, n=10)[-1]
        print(f"{name:<30} {median:>10.1f} {slow:>11.1f} {median / base:>9.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what one answer of a helper costs.")
    parser.add_argument(
        "--rounds", type=int, default=40, help="how often each is asked (%(default)s)"
    )
    rounds = max(2, parser.parse_args().rounds)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with (
        tempfile.TemporaryDirectory(prefix="keylease-bench-") as root,
        Throwaway(Path(root) / "throwaway", environment) as home,
    ):
        try:
            peers = find_peers(home)
            keychain = (home.vault() or {}).get("keychain", "none")
            print(
                f"{platform.platform(terse=True)}, {os.cpu_count()} cores, "
                f"Python {platform.python_version()}, keychain {keychain}, {rounds} rounds\n"
            )
            show(measure(home, peers, rounds))
        finally:
            home.run("git", "credential-cache", "exit")  # otherwise its daemon outlives the home


if __name__ == "__main__":
    main()
