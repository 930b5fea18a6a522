"""`keylease config path`: where the configuration is written."""

from __future__ import annotations

from keylease.system.paths import config_directory


def test_path_is_one_line_for_a_script(console):
    """`$EDITOR "$(keylease config path)"` opens it, whether or not it is there."""
    assert (0, f"{console.user.path}\n", "") == console.run("config", "path")


def test_policy_has_its_own_path(console):
    """Whoever administers the machine asks for that one."""
    assert (0, f"{console.policy.path}\n", "") == console.run("config", "path", "--policy")


def test_without_a_home_the_directory_is_named(console):
    """What can be said is said; where there is no home at all, that is the error."""
    console.user = None

    assert f"{config_directory()}\n" == console.run("config", "path").out
