"""The lean entrance: arguments, streams and exit codes, as git uses them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.throwaway import Throwaway
from support.waiting import WAIT_SECONDS, wait_until_it_wants_more

from keylease.errors import UsageError
from keylease.exchange import parse_options
from keylease.model import MAX_CAP_SECONDS, Options

GET = "protocol=https\nhost=example.com\n"
STORE = GET + "username=alice\npassword=secret\n"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["get"], (Options(), ("get",))),
        (["--timeout", "60", "get"], (Options(60), ("get",))),
        (["--timeout=1", "store"], (Options(1), ("store",))),
        (["--keychain", "kernel", "--timeout=5", "erase"], (Options(5, "kernel"), ("erase",))),
        (["--keychain=library:a.B", "any", "-x"], (Options(None, "library:a.B"), ("any", "-x"))),
    ],
)
def test_arguments_are_those_of_gits_own_cache(
    argv: list[str], expected: tuple[Options, tuple[str, ...]]
) -> None:
    """Options come before the operation, because git appends its operation."""
    found = parse_options(argv)

    assert expected == found


@pytest.mark.parametrize(
    "argv",
    [
        ["--timeout"],
        ["--timeout", "0", "get"],
        ["--timeout", "-1", "get"],
        ["--timeout", "1.5", "get"],
        ["--timeout", "²", "get"],
        ["--timeout", str(MAX_CAP_SECONDS + 1), "get"],
        ["--timeout", str(2**63), "get"],
        ["--timeout", "9" * 5000, "get"],
        ["--unknown", "get"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(argv: list[str]) -> None:
    """A wrong command line is refused as a whole; no part of it is guessed."""
    with pytest.raises(UsageError):
        parse_options(argv)


@pytest.mark.parametrize(
    "argv", [[], ["--timeout", "60"], ["get", "store"], ["get", "--timeout=5"], ["--what", "get"]]
)
def test_usage_error_exits_as_gits_helpers_do(kernel_home: Throwaway, argv: list[str]) -> None:
    """Without exactly one operation the exit code is 129, and a program gets no output."""
    for program in ("git-credential-keylease",):
        done = kernel_home.run(program, *argv)

        assert (129, "", "") == (done.returncode, done.stdout, done.stderr)
    assert not kernel_home.state.exists()


@pytest.mark.parametrize("operation", ["future-operation", "GET", "", "list"])
def test_unknown_operation_is_ignored_without_a_word(
    kernel_home: Throwaway, operation: str
) -> None:
    """An operation of a later git is ignored: exit code 0, no output, no state."""
    done = kernel_home.run("git-credential-keylease", operation, stdin="whatever\0\r")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_capabilities_are_announced(kernel_home: Throwaway) -> None:
    """`capability` answers without waiting for a message, in git's documented form."""
    done = kernel_home.run("keylease", "capability")

    assert "version 0\ncapability authtype\ncapability state\n" == done.stdout


def test_keylease_is_the_same_helper(kernel_home: Throwaway) -> None:
    """`keylease get` answers like `git-credential-keylease get`, with the same options."""
    kernel_home.run("keylease", "--timeout", "60", "store", stdin=STORE)

    answers = [
        kernel_home.run("keylease", "get", stdin=GET).stdout,
        kernel_home.run("git-credential-keylease", "get", stdin=GET).stdout,
    ]

    assert ["username=alice\npassword=secret\n"] * 2 == answers


def test_store_and_erase_print_nothing(kernel_home: Throwaway) -> None:
    """store and erase print nothing, so nothing could show a secret."""
    for operation in ("store", "erase"):
        done = kernel_home.run("git-credential-keylease", operation, stdin=STORE)

        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "\n",
        "host=example.com\n",
        "protocol=https\n",
        "protocol=https\nhost=\n",
        "protocol=https\nhost=evil\rhost=example.com\n",
        "protocol=https\nhost=evil\nhost=example.com\n",
        "protocol=https\nhost=example.com\0.evil\n",
        "no equals sign\n",
        "protocol=https\nhost=" + "a" * 65_536 + "\n",
    ],
)
def test_message_that_git_would_not_send_is_refused(kernel_home: Throwaway, message: str) -> None:
    """An invalid message releases nothing, and the refusal is logged."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)

    done = kernel_home.run("git-credential-keylease", "get", stdin=message)

    assert (1, "", "") == (done.returncode, done.stdout, done.stderr)
    assert ("request.refused", "malformed") == (
        kernel_home.audit()[-1]["event"],
        kernel_home.audit()[-1]["reason"],
    )


def test_answer_comes_before_the_peer_closes_its_end(kernel_home: Throwaway) -> None:
    """A blank line ends the question, so a peer that keeps the pipe open is answered."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    helper = subprocess.Popen(
        [kernel_home.find("git-credential-keylease") or "", "get"],
        env=kernel_home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        helper.stdin.write(GET.encode() + b"\n")
        helper.stdin.flush()
        answer = helper.stdout.read()

    assert b"username=alice\npassword=secret\n" == answer


def test_endless_message_is_refused(kernel_home: Throwaway) -> None:
    """An endless stream is read up to the limit and refused."""
    helper = subprocess.Popen(
        [kernel_home.find("git-credential-keylease") or "", "get"],
        env=kernel_home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with helper:
        assert helper.stdin is not None
        written = 0
        with contextlib.suppress(BrokenPipeError):
            while written < 10 * 1024 * 1024:
                written += os.write(helper.stdin.fileno(), b"a" * 65_536)
        helper.stdin.close()
        helper.stdin = None
        answer, said = helper.communicate(timeout=WAIT_SECONDS)

    assert (1, b"", b"") == (helper.returncode, answer, said)
    assert 10 * 1024 * 1024 > written


@pytest.mark.parametrize("descriptor", [0, 1])
def test_closed_stream_is_a_refusal_not_a_traceback(
    kernel_home: Throwaway, descriptor: int
) -> None:
    """Without stdin or stdout the helper refuses without a traceback."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    program = kernel_home.find("git-credential-keylease")
    closing = "<&-" if descriptor == 0 else ">&-"

    done = kernel_home.run("sh", "-c", f'exec "$0" get {closing}', str(program), stdin=GET)

    assert (1, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr


def test_reader_that_went_away_is_no_traceback(kernel_home: Throwaway) -> None:
    """If the peer dies before the answer, the helper prints no traceback."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    program = kernel_home.find("git-credential-keylease")
    assert program is not None
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [program, "get"],
            input=GET.encode(),
            env=kernel_home.environment,
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
            timeout=WAIT_SECONDS,
        )
    finally:
        os.close(write)

    assert (1, b"") == (done.returncode, done.stderr)


def test_person_at_a_terminal_is_told_why_a_session_is_over(kernel_home: Throwaway) -> None:
    """A terminal shows why a session ended and nothing on a plain miss; a program reads neither."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    plain = _at_a_terminal(kernel_home, "protocol=https\nhost=other.example\n")
    (sealed,) = kernel_home.state.rglob("*.sealed")
    sealed.write_bytes(sealed.read_bytes()[:-1])
    ended = _at_a_terminal(kernel_home, GET)
    silent = kernel_home.run("git-credential-keylease", "get", stdin=GET)

    assert "" == plain
    assert "keylease: error: the session for https://example.com has ended: tampered" in ended
    assert "keylease: hint: start one with: keylease login URL" in ended
    assert (0, "", "") == (silent.returncode, silent.stdout, silent.stderr)


def _at_a_terminal(home: Throwaway, message: str) -> str:
    """Return what a helper without an answer prints on a terminal as its stderr."""
    main, terminal = os.openpty()
    try:
        done = subprocess.run(
            [home.find("git-credential-keylease") or "", "get"],
            input=message.encode(),
            env=home.environment,
            stdout=subprocess.PIPE,
            stderr=terminal,
            check=False,
            timeout=WAIT_SECONDS,
        )
        assert (0, b"") == (done.returncode, done.stdout)
        os.write(terminal, b"end\n")
        said = b""
        while not said.endswith(b"end\r\n"):
            said += os.read(main, 4096)
    finally:
        os.close(main)
        os.close(terminal)
    return said.decode().replace("\r\n", "\n").removesuffix("end\n")


def test_longest_values_come_back_whole(kernel_home: Throwaway) -> None:
    """A line of 65,535 bytes comes back whole."""
    password = "p" * (65_535 - len("password=\n"))
    kernel_home.run("keylease", "store", stdin=f"{GET}username=alice\npassword={password}\n")

    answer = kernel_home.run("keylease", "get", stdin=GET)

    assert f"username=alice\npassword={password}\n" == answer.stdout


def test_pinned_keychain_is_not_passed_over(kernel_home: Throwaway) -> None:
    """With a vault in one keychain another is refused; the message names both, nothing is lost."""
    kernel_home.run("keylease", "store", stdin=STORE)

    other = kernel_home.run("keylease", "--keychain", "secret-service", "get", stdin=GET)

    assert (1, "") == (other.returncode, other.stdout)
    assert "keychain_unavailable" == kernel_home.audit()[-1]["reason"]
    assert "password=secret\n" in kernel_home.run("keylease", "get", stdin=GET).stdout


def test_pipe_that_has_nothing_yet_is_not_at_its_end(kernel_home: Throwaway) -> None:
    """On a non-blocking pipe the helper waits, because half a message can name another host."""
    kernel_home.run("keylease", "store", stdin=STORE)
    read, write = os.pipe()
    os.set_blocking(read, False)
    helper = subprocess.Popen(
        [kernel_home.find("git-credential-keylease") or "", "get"],
        env=kernel_home.environment,
        stdin=read,
        stdout=subprocess.PIPE,
    )
    os.close(read)
    with helper:
        os.write(write, b"protocol=https\nhost=example.com")
        wait_until_it_wants_more(helper.pid, write)
        os.write(write, b".evil.example\n\n")
        os.close(write)
        answer, _ = helper.communicate(timeout=WAIT_SECONDS)

    assert (0, b"") == (helper.returncode, answer)
    assert "example.com.evil.example" == kernel_home.audit()[-1]["target"]["host"]


def test_interrupt_is_no_traceback(kernel_home: Throwaway) -> None:
    """Ctrl-C while git asks ends the helper without output."""
    helper = subprocess.Popen(
        [kernel_home.find("git-credential-keylease") or "", "get"],
        env=kernel_home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with helper:
        assert helper.stdin is not None
        os.write(helper.stdin.fileno(), b"protocol=https\n")
        wait_until_it_wants_more(helper.pid, helper.stdin.fileno())
        helper.send_signal(signal.SIGINT)
        answer, said = helper.communicate(timeout=WAIT_SECONDS)

    assert (-signal.SIGINT, b"", b"") == (helper.returncode, answer, said)


def test_what_a_keychain_library_prints_reaches_nobody(tmp_path: Path) -> None:
    """Output that a keychain library prints on stdout does not reach git."""
    support = str(Path(__file__).parent.parent / "support")
    chosen = {"KEYLEASE_KEYCHAIN": "library:noisy_backend.Noisy", "PYTHONPATH": support}
    # The installed program ignores PYTHONPATH and would not find this backend.
    helper = (
        sys.executable,
        "-c",
        "import sys; from keylease.helper import main; main('git', sys.argv[1:])",
    )
    with Throwaway(tmp_path, chosen) as home:
        home.run(*helper, "store", stdin=STORE)

        answer = home.run(*helper, "get", stdin=GET)

        assert "username=alice\npassword=secret\n" == answer.stdout
        assert "" == answer.stderr
        noise = (home.home / "noise").read_text("utf-8")
    assert "host=evil.example" in noise, "the control: it did print"


@pytest.mark.parametrize("closing", ["<&-", ">&-"])
def test_conversation_ends_when_a_stream_is_gone(kernel_home: Throwaway, closing: str) -> None:
    """If a stream is missing, the helper refuses once and ends."""
    program = kernel_home.find("cargo-credential-keylease")

    script = f'exec "$0" --cargo-plugin {closing}'
    done = kernel_home.run("sh", "-c", script, str(program), timeout_seconds=20)

    assert "Traceback" not in done.stderr
    assert 1 >= done.stdout.count("cannot be read")


def test_conversation_answers_each_message(kernel_home: Throwaway) -> None:
    """After a refusal the next message is read, until stdin ends."""
    helper = subprocess.Popen(
        [kernel_home.find("cargo-credential-keylease") or "", "--cargo-plugin"],
        env=kernel_home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        heard = [helper.stdout.readline()]
        for _ in range(2):
            helper.stdin.write("no JSON\n")
            helper.stdin.flush()
            heard.append(helper.stdout.readline())
        helper.stdin.close()
        rest = helper.stdout.read()

    assert ['{"v":[1]}\n', '{"Err":', '{"Err":'] == [heard[0], *(line[:7] for line in heard[1:])]
    assert (0, "") == (helper.returncode, rest)


def test_conversation_ends_with_a_message_that_is_too_long(kernel_home: Throwaway) -> None:
    """A message that is too long ends the conversation: where the next one begins is unknown."""
    line = '{"v":1,"registry":{"index-url":"https://a.example","name":"%s"},"kind":"get"}\n'

    done = kernel_home.run(
        "cargo-credential-keylease", "--cargo-plugin", stdin=line % ("a" * 2**20) + line % "b"
    )

    greeting, answer, *rest = done.stdout.splitlines()
    assert ('{"v":[1]}', [], 0) == (greeting, rest, done.returncode)
    assert "the request is longer than" in answer


@pytest.mark.parametrize(
    ("words", "question", "answer", "code"),
    [
        (
            ("docker-credential-keylease", "get"),
            "a.example",
            b"credentials not found in native keychain\n",
            1,
        ),
        (
            ("cargo-credential-keylease", "--cargo-plugin"),
            '{"v":1,"registry":{"index-url":"https://a.example"},"kind":"get"}\n',
            b'{"v":[1]}\n{"Err":{"kind":"not-found"}}\n',
            0,
        ),
    ],
)
def test_nobody_at_stderr_changes_no_answer(
    kernel_home: Throwaway, words: tuple[str, ...], question: str, answer: bytes, code: int
) -> None:
    """A closed stderr changes no answer, because clients go by the exit code."""
    kernel_home.run(
        "docker-credential-keylease",
        "store",
        stdin='{"ServerURL":"a.example","Username":"ada","Secret":"s"}',
    )
    kernel_home.run(
        "keylease", "login", "--tool=cargo", "https://a.example", "--password-stdin", stdin="s"
    )
    kernel_home.delete_keys()
    told = kernel_home.run(*words, stdin=question)
    assert (code, answer.decode()) == (told.returncode, told.stdout)
    assert "keylease: error: " in told.stderr, "the control: there is something to say"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [kernel_home.find(words[0]) or "", *words[1:]],
            input=question.encode(),
            env=kernel_home.environment,
            stdout=subprocess.PIPE,
            stderr=write,
            check=False,
            timeout=WAIT_SECONDS,
        )
    finally:
        os.close(write)

    assert (code, answer) == (done.returncode, done.stdout)
