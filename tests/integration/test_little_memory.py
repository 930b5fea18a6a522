"""A helper that is started with too little memory answers whole or not at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("the limit is that of Linux", allow_module_level=True)

PASSWORD = "correct horse battery staple"
QUESTION = "protocol=https\nhost=git.example\n\n"
ENOUGH = 4_000_000


def test_too_little_memory_is_no_answer_and_a_failure(kernel_home: Throwaway) -> None:
    """Under any memory limit the helper gives the whole answer and success, or neither.

    The only output then is that of the loader or the interpreter, for none of our code runs. git
    treats the exit code as *no answer* and goes on.
    """
    words = ("--username", "ada", "--password-stdin")
    assert (
        0
        == kernel_home.run(
            "keylease", "login", "https://git.example", *words, stdin=PASSWORD
        ).returncode
    )
    outcomes = set()
    for kilobytes in (6000, 10_000, 16_000, 22_000, 28_000, 34_000, 40_000, ENOUGH):
        script = f"ulimit -v {kilobytes}; exec git-credential-keylease get"
        done = kernel_home.run("bash", "-c", script, stdin=QUESTION)
        is_whole = f"password={PASSWORD}\n" in done.stdout
        outcomes.add(is_whole)
        assert is_whole or not done.stdout, kilobytes
        assert is_whole == (done.returncode == 0), kilobytes
    assert {True, False} == outcomes
