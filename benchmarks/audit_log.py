"""Measure the cost of the audit log: search and verify a million lines, and append one line.

The writer's own function makes the lines, with links and MACs, over 90 days. keylease, `grep` and
`jq` answer each question on the same files in the same run, so that a busy machine slows all of
them and the ratios stay. The time is that of the whole process, the memory is its highest resident
size. The benchmark only reports: a number alone is no reason to fail.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keylease.audit import head
from keylease.audit.events import Entry
from keylease.audit.line import NO_LINE, digest, key_id, pack
from keylease.audit.log import AuditLog
from keylease.model import NANOSECONDS
from keylease.secrets.secret import Secret
from keylease.statefile import Directory
from keylease.system.clock import BootClock, Deadline
from keylease.wiring import parent_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform != "linux":
    print("the audit log is measured on Linux only, for its memory and fdatasync")
    sys.exit(0)

DAYS = 90
DAY_SECONDS = 86_400
START = 1_790_000_000 // DAY_SECONDS * DAY_SECONDS
KEY = bytes(range(32))
RARE = "h20.example"
MEBIBYTE = 1024  # ru_maxrss is in KiB on Linux


class Peer(NamedTuple):
    """One program and its command line for one question."""

    name: str
    words: list[str]


def fields(number: int, seconds: float, chance: random.Random) -> dict[str, object]:
    """Return the fields of a line: mostly releases, for 64 hosts of very different frequency."""
    host = f"h{min(63, int(chance.expovariate(0.2)))}.example"
    event = chance.choices(
        ("session.released", "session.created", "session.ended", "session.refused"), (20, 2, 2, 1)
    )[0]
    refused = event == "session.refused"
    reasons = {"session.ended": "idle", "session.refused": "not_found"}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return {
        "seq": number,
        "time": f"{stamp}.{int(seconds % 1 * 1e6):06d}Z",
        "boottime_ns": int((seconds - START) * NANOSECONDS),
        "event": event,
        "outcome": "refused" if refused else "ok",
        "reason": reasons.get(event),
        "session": f"{chance.getrandbits(128):032x}",
        "target": {"namespace": "web", "protocol": "https", "host": host, "path": None},
        "username": "ada",
        "caller": {
            "pid": chance.randrange(1 << 22),
            "executable": "/usr/lib/git-core/git-remote-http",
            "parent": "/usr/bin/git",
            "terminal": None,
        },
    }


def generate(directory: Path, count: int) -> int:
    """Write `count` lines over 90 days and the head; return their size in bytes."""
    key, chance, prev, total = Secret(KEY), random.Random(4), NO_LINE, 0  # noqa: S311  # nosec B311
    name = key_id(key)
    day, path, size = -1, directory / "none", 0
    file = Path(os.devnull).open("wb")  # noqa: SIM115 - replaced by each day's file
    for number in range(1, count + 1):
        seconds = START + (number - 1) * DAYS * DAY_SECONDS / count
        if int(seconds) // DAY_SECONDS != day:
            day = int(seconds) // DAY_SECONDS
            file.close()
            path = directory / time.strftime("%Y-%m-%d.jsonl", time.gmtime(seconds))
            file, size = path.open("wb"), 0
        line = pack({**fields(number, seconds, chance), "prev": prev}, key, name)
        file.write(line)
        prev, size, total = digest(line), size + len(line), total + len(line)
    file.close()
    end = head.Head(count, count, path.name, size, prev, "0" * 32, "0" * 16, name)
    (directory / "head").write_bytes(head.pack(end, key))
    return total


def questions(directory: Path) -> Iterator[tuple[str, list[Peer]]]:
    """Yield each question with its programs; the first one is keylease."""
    keylease = [sys.executable, "-m", "keylease", "audit"]
    files = sorted(map(str, directory.glob("*.jsonl")))
    middle = START + DAYS // 2 * DAY_SECONDS + 10 * 3600
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(middle))
    since = ["--since", f"{hour}:00:00Z", "--until", f"{hour[:-2]}11:00:00Z"]
    yield "one hour of 90 days", [
        Peer("keylease audit query", [*keylease, "query", "--json", *since]),
        Peer("grep", ["grep", "-hF", f'"time":"{hour}:', *files]),
        Peer("jq", ["jq", "-c", f'select(.time | startswith("{hour}:"))', *files]),
    ]
    yield "one host of 64, everywhere", [
        Peer("keylease audit query", [*keylease, "query", "--json", "--target", RARE]),
        Peer("grep", ["grep", "-hF", f'"host":"{RARE}"', *files]),
        Peer("jq", ["jq", "-c", f'select(.target.host == "{RARE}")', *files]),
    ]
    verify = ["verify", "--directory", str(directory), "--key-file", str(directory.parent / "key")]
    yield "every link and MAC", [
        Peer("keylease audit verify", [*keylease, *verify]),
        Peer("sha256sum of the files", ["sha256sum", *files]),
        Peer("jq, parsing only", ["jq", "-n", "reduce inputs as $_ (0; .+1)", *files]),
    ]
    page = str(directory.parent / "page.html")
    count = "reduce inputs as $line ({}; .[$line.event] += 1)"
    yield "counting and drawing everything", [
        Peer("keylease audit stats", [*keylease, "stats", "--json"]),
        Peer("jq, one count", ["jq", "-n", count, *files]),
        Peer("keylease audit report", [*keylease, "report", "--force", "--html", page]),
        Peer("keylease audit export", [*keylease, "export"]),
        Peer("keylease audit export, ecs", [*keylease, "export", "--format", "ecs"]),
    ]


def ask(peer: Peer, environment: dict[str, str]) -> tuple[float, float, int, int]:
    """Run one program; return seconds, peak MiB, lines of the answer and exit code."""
    start = time.perf_counter()
    read, write = os.pipe()
    with subprocess.Popen(
        peer.words, stdout=write, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(write)
        lines = 0
        while block := os.read(read, 1 << 20):
            lines += block.count(b"\n")
        os.close(read)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    return seconds, usage.ru_maxrss / MEBIBYTE, lines, process.returncode


def search(directory: Path, rounds: int) -> None:
    """Ask every program each question, in turns, and print the medians."""
    environment = os.environ | {"KEYLEASE_STATE_DIR": str(directory.parent)}
    print(
        f"{'':<34} {'seconds':>8} {'x grep':>7} {'x first':>8} {'MiB':>6} {'lines':>9} {'exit':>4}"
    )
    for question, peers in questions(directory):
        print(question)
        there = [peer for peer in peers if shutil.which(peer.words[0])]
        found: dict[str, list[tuple[float, float, int, int]]] = {each.name: [] for each in there}
        for _ in range(rounds):
            for peer in there:
                found[peer.name].append(ask(peer, environment))
        medians = {
            name: statistics.median(each[0] for each in runs) for name, runs in found.items()
        }
        grep, first = medians.get("grep"), medians[peers[0].name]
        for name, runs in found.items():
            beside = f"{medians[name] / grep:.1f}" if grep else ""
            memory, lines, code = max(run[1] for run in runs), runs[-1][2], runs[-1][3]
            print(
                f"  {name:<32} {medians[name]:>8.2f} {beside:>7} {medians[name] / first:>8.2f}"
                f" {memory:>6.0f} {lines:>9} {code:>4}"
            )


def append(root: Path, count: int) -> None:
    """Print the cost of one line, synced and not synced, next to a bare write."""
    state = root / "appended"
    clock, log = BootClock(), AuditLog(
        lambda: Directory.open(str(state), create=True), Deadline(600.0), parent_process()
    )
    log.key = Secret(KEY)
    entry = Entry("session.released", session="0" * 32, username="ada")
    log.log(entry, clock.now())
    (day,) = (state / "audit").glob("*.jsonl")
    line = day.read_bytes()
    bare = root / "bare"
    steps: dict[str, Callable[[], None]] = {
        "bare write": lambda: write(bare, line, sync=False),
        "keylease, not synced": lambda: log.log_or_gap(
            Entry("session.refused", "refused", "not_found"), clock.now()
        ),
        "bare write and fdatasync": lambda: write(bare, line, sync=True),
        "keylease, synced": lambda: log.log(entry, clock.now()),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append((time.perf_counter() - start) * 1e6)
    print(f"\n{'one line appended':<34} {'median us':>9} {'9 of 10':>9} {'x bare':>7}")
    base = 0.0
    for name, values in times.items():
        median = statistics.median(values)
        base = median if name.startswith("bare") else base
        slow = statistics.quantiles(values, n=10)[-1]
        print(f"  {name:<32} {median:>9.0f} {slow:>9.0f} {median / base:>7.2f}")


def write(path: Path, line: bytes, *, sync: bool) -> None:
    """Append bytes with the fewest system calls."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, line)
    if sync:
        os.fdatasync(fd)
    os.close(fd)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what the audit log costs.")
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (%(default)s)")
    parser.add_argument("--appends", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument("--directory", help="where the log is to be; on the disk to be measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keylease-bench-", dir=options.directory) as name:
        root = Path(name)
        directory = root / "state" / "audit"
        directory.mkdir(parents=True, mode=0o700)
        directory.parent.chmod(0o700)
        (root / "state" / "key").write_text(f"{KEY.hex()}\n", "ascii")
        start = time.perf_counter()
        size = generate(directory, options.lines)
        print(
            f"{platform.platform(terse=True)}, {os.cpu_count()} cores, Python "
            f"{platform.python_version()}; {options.lines} lines, {size >> 20} MiB, {DAYS} days, "
            f"made in {time.perf_counter() - start:.0f} s; median of {options.rounds}"
        )
        # A child starts with the resident size of its parent, so no smaller value can be measured.
        floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE
        print(f"memory below {floor:.0f} MiB is that of this program, not of the one that ran\n")
        search(directory, options.rounds)
        append(root, options.appends)


if __name__ == "__main__":
    main()
