"""Finding a program: as a shell finds it, without running it."""

from __future__ import annotations

import os
import sys

import pytest

from keylease.cli.executable import NotRunnableError, find

if sys.platform == "win32":
    pytest.skip("there the system itself finds the command", allow_module_level=True)


def test_command_is_found_as_a_shell_finds_it(tmp_path, monkeypatch):
    """The first on PATH that can be run, past one that cannot; a name with a slash is a path."""
    for directory, mode in (("a", 0o644), ("b", 0o755), ("c", 0o755)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "tool").write_text("#!/bin/sh\n")
        (tmp_path / directory / "tool").chmod(mode)
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / each) for each in "abc"))
    monkeypatch.chdir(tmp_path)

    assert str(tmp_path / "b" / "tool") == find("tool")
    assert "c/tool" == find("c/tool")


@pytest.fixture
def script(tmp_path):
    """Return what makes a program of these bytes, and its path."""

    def make(content, mode=0o755):
        path = tmp_path / "script"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return make


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh",
        b"#!/bin/sh\n",
        b"#! \t/bin/sh\t-e\n",
        b"#!/bin/sh -" + b"x" * 500,
        b"#!/" + b"x" * 500,  # too long to be judged here
        b"\x7fELF that is none",
        b"",
    ],
)
def test_what_only_the_system_can_judge_is_let_through(script, content):
    """Nothing that can be run is refused."""
    path = script(content)

    assert path == find(path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"#!/no/such/sh\n", "'/no/such/sh'"),
        (b"#!/no/such/sh -e", "'/no/such/sh'"),
        (b"#!/bin/sh\r\n", "'/bin/sh\\r'"),
        (b"#!/bin\n", "'/bin'"),
        (b"#!\n", "''"),
        (b"#!/\xff\x1b\n", "'/\\udcff\\x1b'"),
    ],
)
def test_script_that_nothing_runs_is_told_with_what_it_names(script, content, named):
    """The line end of another system is seen, where the system only says that there is no file."""
    path = script(content)

    with pytest.raises(NotRunnableError) as caught:
        find(path)

    assert f"cannot run {path}: its first line names {named}, which is not a program" == str(
        caught.value
    )


def test_the_system_refuses_what_is_refused_here(script):
    """The control: these scripts really cannot be run."""
    for content in (b"#!/no/such/sh\n", b"#!/bin/sh\r\n", b"#!/bin\n", b"#!\n"):
        with pytest.raises(OSError, match=r"No such file|Permission|Exec format"):
            os.execve(script(content), ["script"], {})  # noqa: S606 - it does not come about
