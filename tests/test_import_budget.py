"""A helper imports only what it needs, as a git command with a password starts it twice."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.questions import QUESTIONS
from support.tracing import READABLE, require_strace
from support.waiting import WAIT_SECONDS

from keylease.protocols.peers import PROTOCOLS
from keylease.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.throwaway import Throwaway

    from keylease.tools import Tool

# Each of these costs milliseconds on every git command, and no answer needs them.
FORBIDDEN = {
    "argparse",
    "asyncio",
    "click",
    "concurrent.futures",
    "dataclasses",
    "email",
    "http",
    "idna",
    "importlib.metadata",
    "inspect",
    "ipaddress",
    "jinja2",
    "keylease.tools",
    "keyring",
    "logging",
    "markupsafe",
    "multiprocessing",
    "pathlib",
    "platformdirs",
    "rich",
    "secretstorage",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "unittest",
    "urllib",
    "xml",
}
# The Secret Service's D-Bus library needs more: it uses dataclasses, and those use inspect.
ALLOWED_TO_JEEPNEY = {
    "dataclasses",
    "inspect",
    "pathlib",
    "asyncio",
    "concurrent.futures",
    "logging",
}

# The answer goes to stdout; afterwards the report goes to stderr.
PROGRAM = """
import sys
from keylease.helper import run
code = run(sys.argv[1], sys.argv[2:])
modules = sorted(sys.modules)
import json
json.dump([code, modules], sys.stderr)
"""
GET = "protocol=https\nhost=example.com\n"
STORE = GET + "username=alice\npassword=secret\n"


def modules_of(
    home: Throwaway, words: Sequence[str], message: str, protocol: str = "git"
) -> tuple[str, set[str]]:
    """Run an operation in a fresh interpreter; return its answer and the imported modules."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, protocol, *words],
        input=message,
        env=home.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )
    code, modules = json.loads(done.stderr)
    assert code == 0
    return done.stdout, set(modules)


@pytest.mark.parametrize("operation", ["get", "store", "erase"])
def test_helper_imports_nothing_heavy(kernel_home: Throwaway, operation: str) -> None:
    """Each operation of the helper works without a heavy import."""
    modules_of(kernel_home, ["store"], STORE)
    answer, modules = modules_of(kernel_home, [operation], STORE if operation == "store" else GET)

    assert set() == FORBIDDEN & modules
    assert ("password=secret" in answer) == (operation == "get")
    assert "cryptography" in modules, "the control: used modules are listed"


def test_secret_service_costs_its_library_and_no_more(desktop) -> None:
    """The Secret Service adds only its D-Bus library, never the keyring library."""
    modules_of(desktop.home, ["store"], STORE)
    answer, modules = modules_of(desktop.home, ["get"], GET)

    assert set() == (FORBIDDEN - ALLOWED_TO_JEEPNEY) & modules
    assert "password=secret" in answer
    assert "jeepney" in modules


@pytest.mark.parametrize(
    "tool", [tool for tool in TOOLS if tool.protocol], ids=lambda tool: tool.name
)
def test_no_tool_costs_more_than_git(kernel_home: Throwaway, tool: Tool) -> None:
    """Each tool's helper imports no more than git's, as the tool waits for it."""
    question = QUESTIONS[tool.program]
    kernel_home.run("keylease", "login", *question.login, "--password-stdin", stdin="secret")

    answer, modules = modules_of(kernel_home, question.words, question.message, tool.protocol)

    assert set() == FORBIDDEN & modules
    assert question.answer in answer


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS.values()))
def test_a_protocol_imports_nothing_heavy(protocol: str) -> None:
    """Parsing a tool's protocol imports no heavy library."""
    code = f"import sys, keylease.protocols.{protocol}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    assert set() == (FORBIDDEN | {"json"}) & set(done.stdout.split())
    assert "keylease.protocols.base" in done.stdout


def test_entrance_of_the_helper_never_reaches_click(kernel_home: Throwaway) -> None:
    """`keylease get` is the same helper and does not import click."""
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "keylease", "get"],
        input=GET,
        env=kernel_home.environment,
        cwd=kernel_home.home,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )

    assert "password=secret" in done.stdout
    assert "keylease.helper" in done.stderr
    assert "click" not in done.stderr


def test_configuration_costs_its_parser_only_where_there_is_one(kernel_home: Throwaway) -> None:
    """Only a configuration file makes the helper import its parser."""
    modules_of(kernel_home, ["store"], STORE)
    path = kernel_home.home / ".config" / "keylease" / "config.toml"
    path.parent.mkdir(mode=0o755, parents=True)
    path.write_text("idle_timeout = 60\n", "utf-8")
    path.chmod(0o644)

    answer, modules = modules_of(kernel_home, ["get"], GET)

    assert {"tomllib"} == FORBIDDEN & modules
    assert "password=secret" in answer


@pytest.mark.parametrize(
    ("host", "library"),
    [("example.com", set()), ("stra\u00dfe.example", {"idna"}), ("[::1]", {"ipaddress"})],
)
def test_a_section_costs_a_library_only_for_a_host_that_needs_it(
    kernel_home: Throwaway, host: str, library: set[str]
) -> None:
    """A section imports a library for host names only if the host needs it."""
    path = kernel_home.home / ".config" / "keylease" / "config.toml"
    path.parent.mkdir(mode=0o755, parents=True)
    path.write_text('[target."https://git.example"]\nidle_timeout = 60\n', "utf-8")
    path.chmod(0o644)
    message = GET.replace("example.com", host)
    modules_of(kernel_home, ["store"], f"{message}username=alice\npassword=secret\n")

    answer, modules = modules_of(kernel_home, ["get"], message)

    assert {"tomllib"} | library == FORBIDDEN & modules
    assert "password=secret" in answer


def test_files_that_are_not_there_cost_one_look_each(kernel_home: Throwaway) -> None:
    """Missing configuration files cost one system call each."""
    require_strace()
    kernel_home.run("git-credential-keylease", "store", stdin=STORE)
    program = kernel_home.find("git-credential-keylease")
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=file", program or "", "get"],
        input=GET,
        env=kernel_home.environment | READABLE,
        cwd=kernel_home.home,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert "password=secret" in done.stdout
    for name in ("keylease/config.toml", "keylease/policy.toml"):
        (line,) = [line for line in done.stderr.splitlines() if name in line]
        assert "ENOENT" in line
