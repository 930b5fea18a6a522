"""Which source of a setting wins, and how the policy limits it."""

from __future__ import annotations

import os
import sys

import pytest

from keylease import config
from keylease.config import Place
from keylease.config.base import KEYS, Stated, variable
from keylease.errors import ConfigError
from keylease.model import CAP_SECONDS, IDLE_SECONDS, Limits, Settings, Target, Terms
from keylease.rules import terms_of
from keylease.system import paths

GITHUB = 'target."https://github.com"'
OTHER = 'target."https://git.example"'
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no syslog")
ME = frozenset([os.geteuid()] if sys.platform != "win32" else [0])


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Start without the variables that the developer may have set."""
    for name in KEYS:
        monkeypatch.delenv(variable(name), raising=False)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a configuration from the texts of its two files."""

    def load(user=None, policy=None, **options):
        places = []
        for kind, text in (("user", user), ("policy", policy)):
            path = tmp_path / kind / f"{kind}.toml"
            path.parent.mkdir(mode=0o755, exist_ok=True)
            if text is not None:
                path.write_text(text, "utf-8")
                path.chmod(0o644)
            places.append(Place(kind, str(path), ME))
        return config.load(options, user=places[0], policy=places[1], environment=os.environ)

    return load


def test_without_anything_the_defaults_count(load):
    """The defaults are 15 minutes, 8 hours, the best keychain, and tools may start sessions."""
    found = load()

    assert {
        "idle_timeout": (IDLE_SECONDS, "default", None),
        "cap": (CAP_SECONDS, "default", None),
        "store": ("create", "default", None),
        "keychain": (None, "default", None),
        "revoked": (False, "default", None),
        "audit.retention_days": (90, "default", None),
        "audit.witness": ("none", "default", None),
    } == found.general
    assert (90, "none") == (found.retention_days, found.witness)
    assert {} == found.targets
    assert Settings() == found.settings
    assert found.keychain is None


@pytest.mark.parametrize(
    ("policy", "option", "variable", "user", "expected"),
    [
        (None, None, None, None, 900),
        (None, None, None, 1000, 1000),
        (None, None, 1100, 1000, 1100),
        (None, 1200, 1100, 1000, 1200),
        (None, 30, 1100, 1000, 30),
        (300, 1200, 1100, 1000, 300),
        (300, None, 1100, 1000, 300),
        (300, None, None, 3600, 300),
        (300, None, None, None, 300),
        (300, None, None, 200, 200),
        (300, 100, 1100, 1000, 100),
        (3600, None, None, None, 900),
    ],
)
def test_order_is_policy_option_variable_file_default(  # noqa: PLR0917 - the table's columns
    load, monkeypatch, policy, option, variable, user, expected
):
    """The first source in this order wins; the policy can only shorten the result."""
    if variable:
        monkeypatch.setenv("KEYLEASE_IDLE_TIMEOUT", str(variable))

    found = load(
        user and f"idle_timeout = {user}",
        policy and f"idle_timeout = {policy}",
        idle_timeout=option,
    )

    assert expected == found.general["idle_timeout"].value
    assert expected == found.settings.limits.idle_seconds
    assert (policy or 43200) == found.settings.general.idle_seconds


def test_clipped_value_says_what_was_wished(load):
    """A user who asked for an hour and gets five minutes can see why."""
    found = load("\nidle_timeout = 3600\ncap=7200", "cap = 600\nidle_timeout = 300")
    value, source, instead_of = found.general["idle_timeout"]

    assert 300 == value
    assert source.endswith("policy.toml")
    assert instead_of is not None
    assert (3600, True) == (instead_of.value, instead_of.source.endswith("user.toml"))


def test_default_that_the_policy_shortens_was_nobodys_wish(load):
    """Only a stated value is reported as overruled, not a default."""
    assert load(policy="idle_timeout = 300").general["idle_timeout"].instead_of is None


def test_cap_shortens_the_idle_timeout(load):
    """A cap of 5 minutes also limits the idle timeout."""
    found = load("cap = 300")

    assert Limits(300, 300) == found.settings.limits
    assert found.general["idle_timeout"].source.endswith("user.toml")
    assert found.general["idle_timeout"].instead_of is None


def test_cap_of_the_policy_shortens_an_option(load):
    """The policy's cap limits an idle timeout from any source."""
    found = load(policy="cap = 300", idle_timeout=600)

    assert Limits(300, 300) == found.settings.limits
    assert Stated(600, "command line") == found.general["idle_timeout"].instead_of


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KEYLEASE_IDLE_TIMEOUT", "60", 60),
        ("KEYLEASE_CAP", "43200", 43200),
        ("KEYLEASE_STORE", "never", "never"),
        ("KEYLEASE_KEYCHAIN", "kernel", "kernel"),
    ],
)
def test_variables_say_the_same_as_the_file(load, monkeypatch, name, value, expected):
    """Each key but the policy's own has a variable, and an empty one counts as unset."""
    key = name.removeprefix("KEYLEASE_").lower()
    monkeypatch.setenv(name, value)
    assert (expected, name, None) == load().general[key]

    monkeypatch.setenv(name, "")
    assert "default" == load().general[key].source


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KEYLEASE_IDLE_TIMEOUT", "0", "found 0, expected a whole number of seconds, 1 to 43200"),
        ("KEYLEASE_IDLE_TIMEOUT", "-1", "found '-1', expected a whole number"),
        ("KEYLEASE_IDLE_TIMEOUT", "15m", "found '15m', expected a whole number"),
        ("KEYLEASE_IDLE_TIMEOUT", "1_000", "found '1_000', expected a whole number"),
        ("KEYLEASE_IDLE_TIMEOUT", " 60", "found ' 60', expected a whole number"),
        ("KEYLEASE_IDLE_TIMEOUT", "²", "found '\\xb2', expected a whole number"),
        ("KEYLEASE_IDLE_TIMEOUT", "\udcff", "found '\\udcff', expected a whole number"),
        ("KEYLEASE_CAP", "43201", "found 43201, expected a whole number"),
        ("KEYLEASE_CAP", str(2**63), f"found {2**63}, expected a whole number"),
        ("KEYLEASE_CAP", "9" * 5000, f"found {'9' * 20}, expected a whole number"),
        ("KEYLEASE_STORE", "Never", 'found \'Never\', expected "create", "update" or'),
        ("KEYLEASE_STORE", "1", "found '1', expected"),
        ("KEYLEASE_KEYCHAIN", "\x1b[2J", "found '\\x1b[2J', expected the name of a keychain"),
    ],
)
def test_variable_that_makes_no_sense_is_refused(load, monkeypatch, name, value, said):
    """A bad value in a variable is refused with the variable's name."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as caught:
        load()

    key = name.removeprefix("KEYLEASE_").lower()
    assert str(caught.value).startswith(f"{name}: {key}: {said}")


def test_no_variable_revokes(load, monkeypatch):
    """Only a policy can revoke, so only the policy needs a search for the reason."""
    monkeypatch.setenv("KEYLEASE_REVOKED", "true")

    assert Settings() == load().settings


@pytest.mark.parametrize(
    ("user", "policy", "expected"),
    [
        ("never", "create", "never"),
        ("create", "never", "never"),
        ("update", "never", "never"),
        ("create", "update", "update"),
        (None, "update", "update"),
        ("update", None, "update"),
    ],
)
def test_stricter_store_counts(load, user, policy, expected):
    """A user can only be stricter than the policy."""
    found = load(user and f'store = "{user}"', policy and f'store = "{policy}"')

    assert expected == found.general["store"].value
    assert expected == found.settings.general.store


def test_keychain_of_the_policy_is_the_one(load):
    """If the policy names a keychain, the user has no choice."""
    found = load('keychain = "kernel"', 'keychain = "secret-service"', keychain="library:a.B")

    assert "secret-service" == found.keychain
    assert Stated("library:a.B", "command line") == found.general["keychain"].instead_of


def test_section_of_a_target_makes_it_stricter_only(load):
    """For a section's target the strictest value wins; other targets are unchanged."""
    found = load(
        f'[{GITHUB}]\nidle_timeout = 200\nstore = "never"\n[{OTHER}]\ncap = 36000',
        f'idle_timeout = 300\n[{GITHUB}]\nidle_timeout = 250\ncap = 400\nstore = "update"',
    )
    github = found.targets["https://github.com"]

    assert {
        "idle_timeout": 200,
        "cap": 400,
        "store": "never",
        "revoked": False,
    } == {name: each.value for name, each in github.items()}
    assert {"idle_timeout": 300, "cap": CAP_SECONDS, "store": "create", "revoked": False} == {
        name: each.value for name, each in found.targets["https://git.example"].items()
    }
    settings = found.settings
    assert Terms(200, 400, "never") == terms_of(settings, Target("web", "https", "github.com"))
    assert Terms(300, 36000) == terms_of(settings, Target("web", "https", "git.example"))
    assert Terms(300) == terms_of(settings, Target("web", "https", "elsewhere.example"))


def test_lost_wish_for_a_target_is_told(load):
    """A user who set ten minutes for a target and gets five can see why."""
    found = load(f"[{GITHUB}]\nidle_timeout = 600\ncap = 700", "idle_timeout = 300")
    idle = found.targets["https://github.com"]["idle_timeout"]

    assert (300, 600) == (idle.value, idle.instead_of and idle.instead_of.value)
    cap = load(f"[{GITHUB}]\ncap = 700", f"[{GITHUB}]\ncap = 600").targets["https://github.com"]
    assert (600, 700) == (cap["cap"].value, cap["cap"].instead_of.value)
    assert 600 == cap["idle_timeout"].value


def test_revocation_of_all_and_of_one(load):
    """The policy revokes everything, or the targets that it names."""
    assert load(policy="revoked = true").settings.general.revoked
    found = load(policy=f"[{GITHUB}]\nrevoked = true")
    assert not found.settings.general.revoked
    assert found.settings.targets["https://github.com"].revoked
    source = found.targets["https://github.com"]["revoked"].source
    assert source.endswith("policy.toml [target.'https://github.com']")


def test_bad_file_of_either_kind_is_refused(load):
    """A bad file of either kind is refused as a whole."""
    for texts in ({"user": "cap = 0"}, {"policy": "cap = 0"}):
        with pytest.raises(ConfigError, match="toml: cap: found 0"):
            load(**texts)


def test_home_that_is_no_directory_has_no_file(tmp_path):
    """A service whose home is /dev/null has no configuration and gets no error."""
    (tmp_path / "null").touch()
    place = Place("user", str(tmp_path / "null" / "config.toml"), ME)

    assert Settings() == config.load({}, user=place, policy=place, environment={}).settings


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_policy_that_cannot_be_seen_is_refused(tmp_path, mocker):
    """A policy that cannot be checked is refused, not taken for a missing one."""
    place = Place("policy", str(tmp_path / "policy.toml"), ME)
    mocker.patch("os.lstat", side_effect=PermissionError(13, "Permission denied"))

    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        config.load({}, user=None, policy=place, environment={})


def test_places_are_the_documented_ones(monkeypatch, tmp_path):
    """XDG_CONFIG_HOME moves the user's file; no variable moves the policy."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    user, policy = config.user_file(), config.machine_policy()

    assert user is not None
    assert f"{paths.config_directory()}{os.sep}config.toml" == user.path
    assert paths.policy_file() == policy.path
    assert not policy.path.startswith(str(tmp_path))
    assert frozenset([0]) == policy.owners
    assert user.owners == {0} | ME


@pytest.mark.skipif(sys.platform != "linux", reason="the rule of Linux")
def test_user_without_a_home_has_no_file(monkeypatch, mocker):
    """A container that runs under a bare user number works without a file."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    mocker.patch("os.geteuid", return_value=4_000_000_123)

    assert config.user_file() is None


def test_policy_is_where_the_platform_keeps_such_files():
    """The policy is where the platform keeps such files, so administrators find it."""
    expected = {
        "linux": "/etc/keylease/policy.toml",
        "darwin": "/Library/Application Support/keylease/policy.toml",
        "win32": f"{os.environ.get('PROGRAMDATA')}\\keylease\\policy.toml",
    }

    assert expected[sys.platform] == paths.policy_file()


@pytest.mark.parametrize(
    ("user", "policy", "expected"),
    [
        (None, None, 90),
        (30, None, 30),
        (30, 60, 60),
        (365, 60, 365),
        (None, 60, 90),
        (None, 400, 400),
    ],
)
def test_policy_says_how_long_the_log_is_kept_at_least(load, user, policy, expected):
    """A user can keep the audit log longer than the policy asks for, but not shorter."""
    texts = [days and f"[audit]\nretention_days = {days}\n" for days in (user, policy)]

    assert expected == load(*texts).retention_days


@POSIX
@pytest.mark.parametrize("user", [None, "none", "syslog"])
@pytest.mark.parametrize("policy", [None, "none", "syslog"])
def test_witness_that_the_policy_asks_for_cannot_be_turned_off(load, user, policy):
    """A user can add a witness to the log but cannot remove the policy's."""
    texts = [word and f'audit.witness = "{word}"\n' for word in (user, policy)]

    assert ("syslog" if "syslog" in {user, policy} else "none") == load(*texts).witness


@pytest.mark.skipif(sys.platform != "win32", reason="elsewhere there is a system log")
def test_witness_that_the_platform_does_not_have_is_refused(load):
    """A witness that the platform lacks is refused, not silently left out."""
    with pytest.raises(ConfigError, match="this platform has no syslog"):
        load('audit.witness = "syslog"\n')


def test_variables_say_how_the_log_is_kept(load, monkeypatch):
    """Variables for the log rank between the options and the file, as for every key."""
    monkeypatch.setenv("KEYLEASE_AUDIT_RETENTION_DAYS", "7")

    assert 7 == load("[audit]\nretention_days = 30\n").retention_days
    assert 60 == load(None, "[audit]\nretention_days = 60\n").retention_days


def test_any_byte_of_the_files_changes_the_digest(load, monkeypatch):
    """Every change of a file changes the digest, so the audit log can record it."""
    digests = [load(*texts).digest for texts in ((None, None), (None, "cap = 5\n"))]
    digests += [
        load(*texts).digest
        for texts in (("cap = 5\n", ""), ("", "cap = 5\n"), ("cap = 5 \n", ""), ("", ""))
    ]

    assert len(digests) == len(set(digests))
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in digests)
    before = load("cap = 5\n", "").digest
    monkeypatch.setenv("KEYLEASE_CAP", "7")
    assert before == load("cap = 5\n", "", idle_timeout=3).digest


def test_files_that_are_there_are_named(load):
    """The digest's files are named, so an admin can look at them."""
    assert () == load().files
    (policy,) = load(None, "cap = 5\n").files
    assert policy.endswith("policy.toml")
    assert 2 == len(load("", "").files)
