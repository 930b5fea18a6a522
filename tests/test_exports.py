"""The public Python API has these names, typed, documented and cheap to import."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import keylease
from keylease import testing

SOURCE = Path(keylease.__file__)
SINCE = re.compile(r"^\s*New in version \d+\.\d+\.\d+\.$", re.MULTILINE)

PROGRAM = """
from __future__ import annotations

import keylease
from keylease import Credential, LiveSession, Secret, parse_url, require_session

API = "https://api.example.com"
sessions: keylease.SessionService = keylease.session_service(idle_seconds=60)
auth: keylease.AuthenticationService = keylease.authentication_service()


def log_in(password: bytes) -> keylease.Session:
    with Secret(password) as secret:
        return auth.login(parse_url(API).target, Credential("ada", secret))


def log_out() -> list[keylease.Session]:
    return auth.logout(*parse_url(API))


def ends() -> int:
    reply: keylease.Reply = sessions.get(*parse_url(API))
    session, left = sessions.validate(reply.session.target)
    remaining: keylease.Remaining = left
    return reply.ends + remaining.ns + len(session.id)


@require_session(API)
def fetch(path: str, *, session: LiveSession) -> bytes:
    return path.encode() + bytes(session.credential().secret.reveal())


@require_session(API)
async def fetch_later(path: str, *, session: LiveSession) -> bytes:
    return path.encode()


def main() -> bytes:
    try:
        return fetch("x")
    except keylease.SessionEndedError as error:
        print(error.reason, error.hint)
    except keylease.KeyleaseError as error:
        raise SystemExit(error.exit_code) from error
    return b""
"""
# Errors that mypy must find, which proves that no type is Any.
MISTAKES = {
    'number: int = keylease.session_service().get(*keylease.parse_url("https://a.example"))': (
        "assignment"
    ),
    "keylease.session_service().no_such_operation()": "attr-defined",
    "keylease.no_such_name": "attr-defined",
    'keylease.require_session("https://a.example", 5)': "arg-type",
    'size: int = keylease.require_session("https://a.example")(str.upper)("x")': "assignment",
}


def imports():
    """Yield each name that type checkers import, with its module."""
    blocks = [node for node in ast.parse(SOURCE.read_text("utf-8")).body if type(node) is ast.If]
    (block,) = [block for block in blocks if "TYPE_CHECKING" == ast.unparse(block.test)]
    for line in block.body:
        yield from ((alias.name, line.module) for alias in line.names)


def run(program):
    """Run a program in a fresh interpreter and return its JSON output."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(SOURCE.parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", keylease.__all__)
def test_name_is_there_and_says_since_when(name):
    """Every public name has documentation and the version that introduced it."""
    value = getattr(keylease, name)

    assert name == value.__name__
    assert SINCE.search(value.__doc__ or ""), f"{name}: since which version?"


@pytest.mark.parametrize("name", testing.__all__)
def test_name_for_tests_is_there_and_says_since_when(name):
    """Every name for other people's tests has them too."""
    assert SINCE.search(getattr(testing, name).__doc__ or "")


def test_type_checkers_see_the_very_names_that_programs_get():
    """Lazily imported names are the ones that the annotations promise."""
    assert dict(imports()) == keylease._MODULES
    assert keylease.__all__ == sorted(keylease._MODULES)


def test_nothing_else_leaks():
    """No other name is public."""
    program = """
import json
from keylease import *
print(json.dumps(sorted(name for name in globals() if not name.startswith("__"))))
"""
    assert sorted([*keylease.__all__, "json"]) == run(program)
    assert sorted([*keylease.__all__, "__version__"]) == dir(keylease)


def test_name_that_is_not_there_is_an_attribute_error():
    """A missing name is an `AttributeError`, as with any module."""
    with pytest.raises(AttributeError, match="module 'keylease' has no attribute 'sessions'"):
        _ = keylease.sessions


def test_import_is_cheap_until_a_name_is_asked_for():
    """Importing keylease is cheap until a name is used."""
    program = """
import json, sys
import keylease
before = list(sys.modules)
keylease.Target
small = list(sys.modules)
keylease.SessionService
print(json.dumps([before, small, list(sys.modules)]))
"""
    before, small, everything = run(program)

    assert ["keylease"] == [name for name in before if name.startswith("keylease")]
    assert set() == {"cryptography", "click", "inspect", "pathlib"} & {*before, *small}
    assert "keylease.session.service" in everything, "the control: used modules are listed"
    assert "click" not in everything


def test_name_is_imported_once():
    """The second use of a name costs nothing."""
    assert keylease.Target is keylease.Target
    assert "Target" in vars(keylease)


@pytest.fixture(scope="module")
def mypy():
    """Return a function that checks a program as `mypy --strict` without settings does."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")

    def judge(directory, program):
        (directory / "program.py").write_text(program, encoding="utf-8")
        words = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "program.py"]
        done = subprocess.run(
            words, cwd=directory, capture_output=True, text=True, timeout=300, check=False
        )
        return done.stdout + done.stderr

    return judge


def test_strict_type_checker_is_content_with_a_program(mypy, tmp_path):
    """A correct program needs no `type: ignore` because of keylease."""
    assert "Success" in mypy(tmp_path, PROGRAM)


def test_strict_type_checker_finds_what_is_wrong(mypy, tmp_path):
    """mypy finds errors in the use of public names, so none of them is `Any`."""
    said = mypy(tmp_path, "\n".join(["import keylease", *MISTAKES]))
    found = dict(re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", said, re.MULTILINE))

    assert dict(enumerate(MISTAKES.values(), 2)) == {int(k): v for k, v in found.items()}, said
