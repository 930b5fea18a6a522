"""State is where platformdirs and the XDG Base Directory Specification say."""

import os
import subprocess
import sys

import platformdirs
import pytest
from support.waiting import WAIT_SECONDS

from keylease.errors import StateError, UsageError
from keylease.system import paths

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the rule of Linux")
VARIABLES = ("KEYLEASE_STATE_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
QUESTIONS = {
    "state": (paths.state_directory, "XDG_STATE_HOME", ".local/state"),
    "config": (paths.config_directory, "XDG_CONFIG_HOME", ".config"),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Start without the developer's variables."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def asked_of_platformdirs(which):
    """Return the path from platformdirs."""
    ask = {"state": platformdirs.user_state_dir, "config": platformdirs.user_config_dir}[which]
    return ask("keylease", appauthor=False)


@pytest.mark.parametrize("which", QUESTIONS)
def test_place_is_the_platforms_own(which):
    """The path is the platform's own, so backup rules and clean-up tools apply."""
    assert asked_of_platformdirs(which) == QUESTIONS[which][0]()


@LINUX
@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("home", ["/home/ada", "/home/ada/", "/", None])
@pytest.mark.parametrize("base", [None, "", "/somewhere", "/somewhere/", "relative", "./x", "~/x"])
def test_linux_rule_is_that_of_platformdirs(which, home, base, monkeypatch):
    """Our own rule for Linux agrees with platformdirs for all variables."""
    question, variable, _ = QUESTIONS[which]
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    if base is not None:
        monkeypatch.setenv(variable, base)

    assert os.path.normpath(asked_of_platformdirs(which)) == os.path.normpath(question())


@LINUX
@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("base", [None, "", "relative"])
def test_default_is_below_home(which, base, monkeypatch):
    """The default is the specification's own, independent of platformdirs."""
    question, variable, default = QUESTIONS[which]
    monkeypatch.setenv("HOME", "/home/ada")
    if base is not None:
        monkeypatch.setenv(variable, base)

    assert f"/home/ada/{default}/keylease" == question()


@LINUX
@pytest.mark.parametrize("home", [None, "", "relative"])
def test_home_is_looked_up_where_the_environment_has_none(home, monkeypatch):
    """Without HOME, a helper that a service starts finds the user's sessions."""
    pwd = pytest.importorskip("pwd")
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)

    expected = f"{pwd.getpwuid(os.geteuid()).pw_dir}/.local/state/keylease"
    assert expected == paths.state_directory()


@LINUX
def test_user_without_a_home_is_told(monkeypatch, mocker):
    """A container that runs under a bare user number learns which variable to set."""
    monkeypatch.delenv("HOME", raising=False)
    mocker.patch("os.geteuid", return_value=4_000_000_123)

    with pytest.raises(StateError, match="4000000123 has no home") as caught:
        paths.state_directory()

    assert "KEYLEASE_STATE_DIR" in caught.value.hint


def test_state_directory_can_be_named(monkeypatch, tmp_path):
    """KEYLEASE_STATE_DIR keeps a test's sessions apart from the user's."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(tmp_path))

    assert str(tmp_path) == paths.state_directory()
    assert str(tmp_path) != paths.config_directory()


def test_empty_name_counts_as_none(monkeypatch):
    """An empty KEYLEASE_STATE_DIR counts as unset."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", "")

    assert asked_of_platformdirs("state") == paths.state_directory()


@pytest.mark.parametrize("name", ["keylease", "./keylease", "../keylease", "~/keylease"])
def test_relative_name_is_refused(name, monkeypatch):
    """A relative path is refused, so test sessions do not reach the user's state."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", name)

    with pytest.raises(UsageError, match="KEYLEASE_STATE_DIR is not an absolute path"):
        paths.state_directory()


@LINUX
def test_linux_does_without_platformdirs():
    """On Linux the helper does not import platformdirs."""
    program = (
        "import sys; from keylease.system import paths;"
        "paths.state_directory(); paths.config_directory();"
        "print('platformdirs' in sys.modules); import platformdirs;"
        "print('platformdirs' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        check=True,
        text=True,
        timeout=WAIT_SECONDS,
    )

    assert ["False", "True"] == done.stdout.split()
