"""The program as a user runs it: a real keychain, a real terminal, a real git."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from support.gits import GITS
from support.tracing import require_strace
from support.waiting import WAIT_SECONDS

if sys.platform != "win32":
    from support.pseudo_terminal import PseudoTerminal

URL = "https://git.example:8443"
CANARY = "hunter2-canary-7f3a"
QUESTION = "protocol=https\nhost=git.example:8443\n\n"
STDIN = ("--username", "ada", "--password-stdin")


@pytest.fixture
def home(kernel_home):
    """Return a home on the kernel keyring; its keys are deleted afterwards."""
    return kernel_home


@pytest.fixture
def terminal():
    """Return a terminal that the test controls."""
    if sys.platform == "win32":
        pytest.skip("the standard library has no terminal to test with here")
    with PseudoTerminal() as terminal:
        yield terminal


def login(home, *words):
    """Start a session with the canary as its password."""
    done = home.run("keylease", "login", URL, *STDIN, *words, stdin=f"{CANARY}\n")
    assert (0, "") == (done.returncode, done.stderr)
    return done


def test_from_login_to_logout(home):
    """Every command of a working day succeeds, each in its own process."""
    assert "no live session" in home.run("keylease", "status").stdout
    assert home.vault() is None

    login(home)
    assert f"password={CANARY}\n" in home.run("keylease", "get", stdin=QUESTION).stdout
    assert URL in home.run("keylease", "status").stdout
    assert 0 == home.run("keylease", "extend", URL).returncode
    detail = home.run("keylease", "status", URL).stdout
    assert "Linux kernel keyring (kernel)" in detail
    assert 0 == home.run("keylease", "logout", URL).returncode

    assert 3 == home.run("keylease", "status", URL).returncode
    assert "" == home.run("keylease", "get", stdin=QUESTION).stdout
    assert [] == list(home.state.glob("sessions/*/*.sealed"))


def test_git_is_answered_after_login_and_setup(home):
    """After the two commands of the README, git asks no question."""
    login(home)
    done = home.run("keylease", "setup", "git")
    assert (0, "") == (done.returncode, done.stderr)

    filled = home.run("git", "credential", "fill", stdin=QUESTION)

    assert {"username=ada", f"password={CANARY}"} <= set(filled.stdout.splitlines())
    home.run("keylease", "setup", "git", "--undo")
    assert 0 != home.run("git", "credential", "fill", stdin=QUESTION).returncode


@pytest.mark.parametrize("git", GITS, ids=str)
def test_every_git_is_answered_with_and_without_its_path(home, git):
    """A login for one repository answers git with the path in the URL and without it."""
    words = ("keylease", "login", f"{URL}/org/repo.git", *STDIN)
    assert 0 == home.run(*words, stdin=CANARY).returncode
    home.run("keylease", "setup", "git")
    environment = home.environment | {
        name: value for name, value in git.environment.items() if name == "GIT_EXEC_PATH"
    }
    for use_path in ("false", "true"):
        done = subprocess.run(
            [git.path, "-c", f"credential.useHttpPath={use_path}", "credential", "fill"],
            input=f"url={URL}/org/repo.git\n\n",
            env=environment,
            cwd=home.home,
            capture_output=True,
            text=True,
            check=True,
            timeout=WAIT_SECONDS,
        )
        assert f"password={CANARY}\n" in done.stdout


def test_login_that_is_ended_at_its_question_gives_the_terminal_back(home, terminal):
    """After SIGTERM at the password prompt the terminal echoes again."""
    words = [home.find("keylease"), "login", URL, "--username", "ada"]
    process = terminal.start(words, home.environment)
    terminal.wait_for(f"Password for {URL} as ada: ")
    assert not terminal.echoes, "the control: it was off"

    process.terminate()

    assert (-signal.SIGTERM, "", "") == terminal.finish(process)
    assert terminal.echoes
    assert not home.state.exists()


def test_login_asks_on_the_terminal_without_echo(home, terminal):
    """With stdin redirected, login asks both questions on the terminal and hides the password."""
    program = home.find("keylease")
    process = terminal.start([program, "login", URL], home.environment)
    terminal.wait_for(f"Username for {URL}: ")
    assert terminal.echoes
    terminal.type(b"ada\n")
    terminal.wait_for(f"Password for {URL} as ada: ")
    assert not terminal.echoes
    terminal.type(CANARY.encode() + b"\n")
    code, out, err = terminal.finish(process)

    assert (0, "") == (code, err)
    assert f"started a session for {URL} as ada" == out.splitlines()[0]
    assert b"ada\r\n" in terminal.shown, "what is typed at the first question is shown"
    assert CANARY.encode() not in terminal.shown
    assert terminal.echoes
    assert f"password={CANARY}\n" in home.run("keylease", "get", stdin=QUESTION).stdout


def test_interrupted_login_changes_nothing(home, terminal):
    """Ctrl-C at the password prompt starts no session, exits as a shell does, and restores echo."""
    process = terminal.start(
        [home.find("keylease"), "login", "https://ada@a.example"], home.environment
    )
    terminal.wait_for("Password for https://a.example as ada: ")
    terminal.type(b"half\x03")
    code, out, _ = terminal.finish(process)

    assert (130, "") == (code, out)
    assert terminal.echoes
    assert not home.state.exists()


def test_password_on_stdin_is_not_typed_in_the_open(home, terminal):
    """--password-stdin is refused on a terminal, because the password would be visible."""
    with open(terminal.path, "rb", buffering=0) as stdin:  # noqa: PTH123 - a device
        words = [home.find("keylease"), "login", URL, *STDIN]
        code, _, err = terminal.finish(terminal.start(words, home.environment, stdin.fileno()))

    assert 2 == code
    assert "keylease: error: stdin is a terminal" in err


def test_narrow_terminal_is_given_blocks(home, terminal):
    """On a narrow terminal every word appears, and the terminal wraps no line."""
    login(home)
    wide = home.run("keylease", "status").stdout.splitlines()
    assert "TARGET" == wide[0].split()[0]
    script = 'exec "$0" status >/dev/tty'
    words = ["sh", "-c", script, home.find("keylease")]

    terminal.finish(terminal.start(words, home.environment | {"COLUMNS": "40"}))

    lines = terminal.shown.decode().split("\r\n")
    assert [URL, "  NAMESPACE    web", "  USER         ada"] == lines[:3]


def test_without_a_terminal_nobody_is_asked(home):
    """In a cron job login fails at once and says how to log in without a terminal."""
    done = subprocess.run(
        [home.find("keylease"), "login", URL],
        input=f"ada\n{CANARY}\n",
        env=home.environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (2, "") == (done.returncode, done.stdout)
    assert "keylease: error: there is no terminal to ask on" in done.stderr
    assert "keylease: hint: use --username and --password-stdin\n" in done.stderr


@pytest.mark.parametrize("words", [("status",), ("--help",), ("logout", "--all")])
def test_reader_that_goes_away_is_no_error(home, words):
    """`keylease status | true` prints nothing on stderr and does its work."""
    login(home)
    done = subprocess.run(
        ["sh", "-c", '{ "$0" "$@"; echo "code $?" >&2; } | true', home.find("keylease"), *words],
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr in {"code 0\n"} | ({"code 1\n"} if words == ("--help",) else set())
    live = json.loads(home.run("keylease", "status", "--json").stdout)["sessions"]
    assert ([] if words[0] == "logout" else ["ada"]) == [each["username"] for each in live]


def test_full_disk_is_told(home):
    """Writing the answer to a full disk is reported as a failure."""
    login(home)
    done = home.run("sh", "-c", "keylease status >/dev/full")

    assert 1 == done.returncode
    assert "keylease: error: cannot write the answer to stdout: No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert 2 == len(done.stderr.splitlines())


def test_revocation_is_told_after_the_key_is_deleted(home):
    """After an admin deletes the key in the real keychain, the user reads that it was revoked."""
    login(home)
    assert 0 == home.run("keyctl", "unlink", f"%user:{home.service()}", "@u").returncode

    done = home.run("keylease", "status")

    assert 5 == done.returncode
    assert "revoked at 20" in done.stdout
    assert "keylease: hint: start afresh with: keylease login URL\n" in done.stderr
    login(home)
    assert (
        2 == json.loads(home.run("keylease", "status", "--json").stdout)["keychain"]["generation"]
    )


def test_no_command_prints_the_secret(home):
    """The password is in no argument and in no file; only the helper's answer contains it."""
    commands = (
        ("login", URL, *STDIN),
        ("status",),
        ("status", "--json"),
        ("status", URL),
        ("extend", URL),
        ("setup", "git"),
        ("login", f"https://ada:{CANARY}@git.example"),
        ("login", URL, *STDIN, CANARY),
        ("login", URL, f"--password={CANARY}"),
        ("logout", URL),
        ("logout", "--all"),
    )
    for words in commands:
        stdin = CANARY if "--password-stdin" in words else ""
        done = home.run("keylease", *words, stdin=stdin)
        assert CANARY not in done.stdout + done.stderr, words
        assert CANARY not in "".join(map(str, files_with(home, CANARY))), words
    assert files_with(home, "git.example"), "the search finds what is there"

    login(home)
    assert CANARY in home.run("keylease", "get", stdin=QUESTION).stdout


def files_with(home, text):
    """Return the files of the home that hold the text."""
    return [
        path
        for path in home.home.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def test_password_is_in_no_command_line_and_no_environment(home, tmp_path):
    """Other users who list the processes do not see the password."""
    require_strace()
    trace = tmp_path / "trace"
    words = ("strace", "-f", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(trace))
    done = home.run(*words, "keylease", "login", URL, *STDIN, stdin=CANARY)

    assert 0 == done.returncode, done.stderr
    assert "--password-stdin" in trace.read_text(), "the trace shows what is on a command line"
    assert CANARY not in trace.read_text()
