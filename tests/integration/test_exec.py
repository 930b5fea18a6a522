"""`keylease exec` with real commands: what they get and return, and what others cannot see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the commands of these tests are shell scripts", allow_module_level=True)

URL = "https://git.example"
CANARY = "hunter2-canary-7f3a"
STDIN = ("--username", "ada", "--password-stdin")


@pytest.fixture
def session(home):
    """Return a home with a session, once for each keychain of this machine."""
    done = home.run("keylease", "login", URL, *STDIN, stdin=CANARY)
    assert (0, "") == (done.returncode, done.stderr)
    return home


@pytest.fixture
def kernel_session(kernel_home):
    """Return a home with a session, for tests that do not depend on the keychain."""
    assert 0 == kernel_home.run("keylease", "login", URL, *STDIN, stdin=CANARY).returncode
    return kernel_home


def releases(home):
    """Return how many releases of the secret the log has."""
    return [line["event"] for line in home.audit()].count("session.released")


def start(home, *words):
    """Start `keylease exec` and return the process; its output is a pipe."""
    program = home.find("keylease")
    return subprocess.Popen(
        [program, "exec", URL, *words],
        env=home.environment,
        cwd=home.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_pipe_holds_the_password_once(session):
    """The command reads the secret once; a second read is empty, and the log has one release."""
    script = 'cat "/dev/fd/$FD"; echo; cat <&"$FD"; echo end'

    done = session.run("keylease", "exec", URL, "--fd", "FD", "--", "sh", "-c", script)

    assert (0, "") == (done.returncode, done.stderr)
    assert f"{CANARY}\nend\n" == done.stdout
    assert 1 == releases(session)


def test_environment_holds_the_password(kernel_session):
    """The variable is set, and the secret is in no other variable and in no argument."""
    words = ("--env", "TOKEN", "--env", "WHO=username", "--", "env", "--null")

    done = kernel_session.run("keylease", "exec", URL, *words)

    values = [line for line in done.stdout.split("\0") if CANARY in line]
    assert [f"TOKEN={CANARY}"] == values
    assert "WHO=ada" in done.stdout.split("\0")
    assert 1 == releases(kernel_session)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_secret_is_in_no_command_line_and_pipe_leaves_the_environment_clean(kernel_session):
    """While the command runs, neither its arguments nor its environment contain the secret."""
    process = start(kernel_session, "--fd", "FD", "--", "sh", "-c", 'echo "$FD"; read x', "{FD}")
    number = process.stdout.readline().decode().strip()
    seen = {}
    for name in ("cmdline", "environ"):
        seen[name] = Path(f"/proc/{process.pid}/{name}").read_bytes()
    held = os.read(os.open(f"/proc/{process.pid}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK), 4096)
    process.communicate(b"\n", timeout=60)

    assert CANARY.encode() == held, "the control: it is in the pipe"
    assert seen["cmdline"].endswith(f"\0{number}\0".encode())
    assert f"FD={number}".encode() in seen["environ"].split(b"\0")
    assert CANARY.encode() not in seen["cmdline"] + seen["environ"]


@pytest.mark.parametrize("code", [0, 1, 3, 77, 255])
def test_exit_code_is_the_commands(kernel_session, code):
    """A script sees the command's exit code, even one that keylease uses itself."""
    words = ("--env", "A", "--", "sh", "-c", f"exit {code}")

    assert code == kernel_session.run("keylease", "exec", URL, *words).returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signal_reaches_the_command_once(kernel_session, number):
    """A signal to keylease reaches the command once, because both have the same process id."""
    script = f'trap "echo caught" {number.name.removeprefix("SIG")}; echo ready; read x; read y'
    process = start(kernel_session, "--env", "A", "--", "sh", "-c", script)
    assert b"ready\n" == process.stdout.readline()

    process.send_signal(number)
    out, err = process.communicate(b"\n\n", timeout=60)

    assert (b"caught\n", b"") == (out, err)


def test_command_dies_of_a_signal_as_it_would_alone(kernel_session):
    """The parent sees the command's death by signal, as if a shell had started it."""
    process = start(kernel_session, "--env", "A", "--", "sh", "-c", "kill -TERM $$; read x")
    process.communicate(timeout=60)

    assert -signal.SIGTERM == process.returncode


def test_command_dies_of_a_closed_pipe(kernel_session):
    """`keylease exec … yes | head` ends, because the command does not inherit Python's SIGPIPE."""
    process = start(kernel_session, "--env", "A", "--", "yes")
    assert b"y\n" == process.stdout.readline()
    process.stdout.close()
    process.stdin.close()

    assert -signal.SIGPIPE == process.wait(timeout=60)
    process.stderr.close()


def test_stdin_and_stdout_are_the_commands_own(kernel_session):
    """Input piped to keylease reaches the command unchanged, byte for byte."""
    words = ("--env", "A", "--", "cat")

    done = kernel_session.run("keylease", "exec", URL, *words, stdin="in\nand out")

    assert "in\nand out" == done.stdout


def test_only_the_pipe_is_inherited(kernel_session):
    """The command inherits no state file, no lock and no connection to a keychain."""
    script = "ls -l /dev/fd/ | grep -c -e .local -e socket; echo $?"

    done = kernel_session.run("keylease", "exec", URL, "--fd", "F", "--", "sh", "-c", script)

    assert "0\n1\n" == done.stdout


def test_file_without_a_format_is_126(kernel_session):
    """A file that the system cannot execute is reported like one that may not be executed."""
    path = kernel_session.home / "thing"
    path.write_bytes(b"\0\1\2")
    path.chmod(0o755)

    done = kernel_session.run("keylease", "exec", URL, "--env", "A", "--", str(path))

    assert 126 == done.returncode
    assert f"cannot run {path}: " in done.stderr
    assert CANARY not in done.stdout + done.stderr


CORE_LIMITS = """
import resource, sys
given = tuple(int(each) for each in sys.argv[1].split(","))
resource.setrlimit(resource.RLIMIT_CORE, given)
sys.argv[1:] = sys.argv[2:]
from keylease.__main__ import main
main()
"""


@pytest.mark.parametrize("given", ["0,0", "0,4096", "1024,4096", "4096,4096"])
def test_command_has_the_limit_on_core_files_that_was_given(kernel_session, given):
    """The command can dump core and be traced as usual: keylease restricts only itself."""
    looking = (
        "import ctypes, resource; print(*resource.getrlimit(resource.RLIMIT_CORE), sep=',')\n"
        "libc = ctypes.CDLL(None); print(getattr(libc, 'prctl', lambda *_: 1)(3, 0, 0, 0, 0))"
    )
    words = (sys.executable, "-c", CORE_LIMITS, given, "exec", URL, "--env", "TOKEN", "--")

    done = kernel_session.run(*words, sys.executable, "-c", looking)

    assert ("", [given, "1"]) == (done.stderr, done.stdout.split())
