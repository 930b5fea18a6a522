"""docs/embedding.md: every program in it runs and prints what the document says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.waiting import WAIT_SECONDS, wait_until

from keylease.shares.kernel import KernelShares
from keylease.testing import KeyStoreContract

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs" / "examples" / "weather.py"
URL = "https://api.weather.example"
TOKEN = "hunter2-canary-91c4"

PROGRAMS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
SCENES = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
# A busy machine cannot start a program within the one second of the document.
LIVE = SCENES[1].replace("--timeout 1 ", "--timeout 59 ").replace("after 1 s ", "after 59 s ")
PRINTED = re.findall(r"^It prints:\n\n```\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)

# Some threads start sessions while others use them.
THREADS = """
from concurrent.futures import ThreadPoolExecutor
import keylease

sessions = keylease.session_service()
target, _ = keylease.parse_url("https://api.weather.example")


def start(user):
    sessions.create(target, keylease.Credential(user, keylease.Secret(user.encode())))


@keylease.require_session("https://api.weather.example", "ada")
def use(number, *, session):
    return number, bytes(session.credential().secret.reveal()).decode()


start("ada")
with ThreadPoolExecutor(8) as pool:
    started = pool.map(start, [f"user{number}" for number in range(4)])
    print(list(pool.map(use, range(8))), list(started))
print(len(sessions.terminate(target)))
"""


class Weather(BaseHTTPRequestHandler):
    """The API: it answers a request with the right token."""

    def do_GET(self):
        """Answer one question."""
        authorised = self.headers["Authorization"] == f"Bearer {TOKEN}"
        self.send_response(200 if authorised else 401)
        self.end_headers()
        self.wfile.write(f"{self.path.removeprefix('/')}: clear".encode())

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def api():
    """Return the address of the API, on loopback."""
    with HTTPServer(("127.0.0.1", 0), Weather) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(WAIT_SECONDS)


@pytest.fixture
def home(kernel_home, api, tmp_path):
    """Return a home that has the command installed and the token in a file."""
    command = tmp_path / "bin" / "weather"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{EXAMPLE}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    (kernel_home.home / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    kernel_home.environment["WEATHER_API"] = api
    return kernel_home


def play(scene, home, api):
    """Type every command of a scene into a shell, and return the commands with their output."""
    went, code = [], None
    for line in scene.replace(URL, api).splitlines():
        if line == "$ echo $?":
            went += [line, str(code)]
        elif line.startswith("$ "):
            done = home.run("sh", "-c", line.removeprefix("$ "))
            went += [line, *(done.stdout + done.stderr).splitlines()]
            code = done.returncode
    return "".join(f"{line}\n" for line in went).replace(api, URL)


def wait_for_the_end(home):
    """Wait until the kernel has deleted the share of the newest session, which lasts one second."""
    started = [line["session"] for line in home.audit() if line["event"] == "session.created"]
    wait_until(lambda: KernelShares().read(started[-1]) is None, "the kernel forgets the share")


def test_users_see_what_the_document_shows(home, api):
    """The scene with no, a live, an expired and an ended session uses the real clock and kernel."""
    nobody, _, expired, ended = SCENES
    beginning = "".join(SCENES[1].splitlines(keepends=True)[:3])

    assert nobody == play(nobody, home, api)
    assert LIVE == play(LIVE, home, api)
    assert beginning == play(beginning, home, api)
    wait_for_the_end(home)
    assert expired == play(expired, home, api)
    assert ended == play(ended, home, api)


def test_command_of_somebody_else_is_in_the_audit_log(home, api):
    """The log shows each release to the command and each use of the session."""
    play(SCENES[-1], home, api)

    expected = [
        ("vault.created", None),
        ("session.created", None),
        ("login", None),
        ("session.validated", None),
        ("session.released", None),
        ("session.extended", None),
        ("session.ended", "logout"),
        ("logout", None),
        ("session.refused", "not_found"),
    ]
    assert expected == [(line["event"], line["reason"]) for line in home.audit()]


def test_secret_of_somebody_elses_command_is_nowhere(home, api):
    """The token reaches the server and stays nowhere."""
    play(LIVE, home, api)
    kept = [path for path in home.state.rglob("*") if path.is_file()]

    assert any("session.released" in path.read_text("latin-1") for path in kept), "the control"
    assert [] == [path for path in kept if TOKEN in path.read_text("latin-1")]


def test_document_shows_the_very_example():
    """The program in the document is the program that the tests run."""
    assert EXAMPLE.read_text(encoding="utf-8") == PROGRAMS[0]


def test_plain_program_prints_what_the_document_says(kernel_home):
    """Each operation does what the document shows, in a separate process."""
    done = kernel_home.run(sys.executable, "-c", PROGRAMS[1])

    assert (PRINTED[0], "") == (done.stdout, done.stderr)


def test_threads_use_the_real_keychain_and_the_real_shares(kernel_home):
    """A server with many users at once gets the right answer in each thread."""
    done = kernel_home.run(sys.executable, "-c", THREADS)

    answers = [(number, "ada") for number in range(8)]
    assert (f"{answers} {[None] * 4}\n5\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("names", [["test_weather.py"], ["safe.py", "test_safe.py"]])
def test_tests_of_somebody_else_pass(names, tmp_path):
    """The tests in the document can be copied, and all of them run."""
    for name in names:
        (program,) = [each for each in PROGRAMS if each.startswith(f"# {name}\n")]
        (tmp_path / name).write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", names[-1]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    rules = [name for name in vars(KeyStoreContract) if name.startswith("test_")]

    expected = len(rules) if "safe.py" in names else 2
    assert f"{expected} passed" in done.stdout, done.stdout


def test_strict_type_checker_is_content_with_the_example(tmp_path):
    """A program written like the example needs no `type: ignore`."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    words = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(EXAMPLE)]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )

    assert "Success" in done.stdout, done.stdout
