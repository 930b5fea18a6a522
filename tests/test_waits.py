"""No test waits for ever, since a hanging run explains nothing."""

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.waiting import (
    WAIT_SECONDS,
    ended,
    polls,
    process_state,
    wait_until,
    wait_until_it_wants_more,
)

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
STARTS = {"run", "call", "check_call", "check_output"}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
# It sleeps before it reads, so a check that only waits for sleep looks too early.
LATE = """
import os, sys, time
print("ready", flush=True)
time.sleep(0.3)
os.read(0, 100)
print("read", flush=True)
os.read(0, 100)
"""


def endless(source):
    """Return the line of each call in the source that may wait for ever."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        name, owner = call.func.attr, call.func.value
        of = owner.id if isinstance(owner, ast.Name) else None
        waits = (of == "subprocess" and name in STARTS) or name == "communicate"
        if waits and "timeout" not in {keyword.arg for keyword in call.keywords}:
            found.append(call.lineno)
        if name in {"wait", "join"} and of != "os" and not call.args and not call.keywords:
            found.append(call.lineno)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("subprocess.run(['true'], check=True)", [1]),
        ("subprocess.run(['true'], check=True, timeout=9)", []),
        ("subprocess.check_output(['true'], **more)", [1]),
        ("process.communicate(b'')", [1]),
        ("process.communicate(timeout=9)", []),
        ("thread.join()", [1]),
        ("thread.join(9)", []),
        ("', '.join(names)", []),
        ("event.wait()", [1]),
        ("os.wait()", []),
    ],
)
def test_call_without_a_deadline_would_be_found(source, expected):
    """The search finds each kind of wait without a deadline and accepts those with one."""
    assert expected == endless(source)


def test_every_wait_has_a_deadline():
    """Every wait for a process, thread or event in the tests has a deadline."""
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in FILES
        for line in endless(path.read_text(encoding="utf-8"))
    ]

    assert [] == found


def test_nothing_is_told_from_the_wait_channel():
    """No test reads the wait channel, which the kernel shows only to root here."""
    channel = "w" + "chan"
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}

    assert ["support/waiting.py"] == [
        str(path.relative_to(TESTS)) for path, text in texts.items() if channel in text
    ], "only where it is said why"


def test_every_test_has_a_last_deadline(pytestconfig):
    """A plugin ends any test after ten minutes with a traceback."""
    assert pytestconfig.pluginmanager.hasplugin("timeout")
    assert 600 == float(pytestconfig.getini("timeout"))


def test_wait_in_vain_says_for_what():
    """A failed wait names what it waited for and lasts no longer than stated."""
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s in vain: the tide"):
        wait_until(lambda: False, "the tide", 0.01)


def test_wait_ends_with_its_condition():
    """A wait ends when another thread makes its condition true."""
    came = threading.Event()
    thread = threading.Timer(0.05, came.set)
    thread.start()

    wait_until(came.is_set, "the event")

    assert came.is_set()
    thread.join(WAIT_SECONDS)


def test_a_loop_over_polls_is_bounded():
    """A loop over `polls` that never breaks raises."""
    with pytest.raises(TimeoutError, match="the way out"):
        for _ in polls("the way out", 0.01):
            pass


@LINUX
def test_reader_is_waited_for_until_it_has_read():
    """A process that sleeps before it reads does not count as waiting for input."""
    words = [sys.executable, "-c", LATE]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as late:
        assert late.stdin is not None
        assert late.stdout is not None
        os.write(late.stdin.fileno(), b"part")
        assert b"ready\n" == late.stdout.readline()

        wait_until_it_wants_more(late.pid, late.stdin.fileno())

        os.set_blocking(late.stdout.fileno(), False)
        assert b"read\n" == os.read(late.stdout.fileno(), 100)
        late.kill()


@LINUX
def test_process_that_ends_instead_is_no_wait():
    """A wait fails at once if the process ends instead."""
    words = [sys.executable, "-c", "pass"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as over:
        assert over.stdin is not None
        os.write(over.stdin.fileno(), b"part")
        with pytest.raises(AssertionError, match="has ended without reading"):
            wait_until_it_wants_more(over.pid, over.stdin.fileno())
        assert "Z" == process_state(over.pid)
        assert ended(over.pid)
    assert ended(over.pid)
