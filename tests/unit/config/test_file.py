"""One configuration file: what is accepted, what is refused, and with which message."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.requirements import require_ordinary_user, require_root

from keylease.config import Place
from keylease.config.base import KEYS
from keylease.config.file import LONGEST_FILE, LONGEST_LINE, read
from keylease.errors import ConfigError
from keylease.model import MAX_CAP_SECONDS

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes and no owners")
SECONDS = f"expected a whole number of seconds, 1 to {MAX_CAP_SECONDS}"
ME = frozenset([os.geteuid()] if sys.platform != "win32" else [0])
GITHUB = 'target."https://github.com"'
SECTION = " [target.'https://github.com']"


@pytest.fixture
def directory(tmp_path):
    """Return a directory that no other user can write."""
    path = tmp_path / "keylease"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def place(directory):
    """Return the path of the file as the user's own."""
    return Place("user", str(directory / "config.toml"), ME)


@pytest.fixture
def policy(directory):
    """Return the path of the file as a policy; the current user stands for root."""
    return Place("policy", str(directory / "policy.toml"), ME)


def put(place, text, mode=0o644):
    """Write the file and return its path."""
    data = text if isinstance(text, bytes) else text.encode()
    Path(place.path).write_bytes(data)
    Path(place.path).chmod(mode)
    return place


def refused(place):
    """Return the refusal's message without the path."""
    with pytest.raises(ConfigError) as caught:
        read(place)
    said = str(caught.value)
    assert said.startswith(place.path), said
    assert said.isprintable(), "one line without control characters"
    assert caught.value.hint
    return said.removeprefix(place.path)


@pytest.mark.parametrize(
    ("text", "general", "targets"),
    [
        ("", {}, {}),
        ("# nothing yet\n\n", {}, {}),
        ("idle_timeout = 1", {"idle_timeout": 1}, {}),
        (f"cap = {MAX_CAP_SECONDS}\n", {"cap": MAX_CAP_SECONDS}, {}),
        ("idle_timeout = 60\ncap = 60\n", {"idle_timeout": 60, "cap": 60}, {}),
        ("idle_timeout = 3_600", {"idle_timeout": 3600}, {}),
        ('store = "never"', {"store": "never"}, {}),
        ("keychain = 'kernel'", {"keychain": "kernel"}, {}),
        ("keychain = 'library:a.B'", {"keychain": "library:a.B"}, {}),
        ("idle_timeout = 5\r\ncap = 7\r\n", {"idle_timeout": 5, "cap": 7}, {}),
        (f"[{GITHUB}]\nidle_timeout = 5", {}, {"https://github.com": {"idle_timeout": 5}}),
        (f"[{GITHUB}]\n", {}, {"https://github.com": {}}),
        (
            (
                f'cap = 9\n[{GITHUB}]\ncap = 8\nstore = "update"\n'
                '[target."https://g.example:8443"]\nstore = "create"\n'
            ),
            {"cap": 9},
            {
                "https://github.com": {"cap": 8, "store": "update"},
                "https://g.example:8443": {"store": "create"},
            },
        ),
        ('[target."https://[::1]:8443"]\ncap = 8', {}, {"https://[::1]:8443": {"cap": 8}}),
        ('[target."https://GitHub.com:443"]\ncap = 8', {}, {"https://github.com": {"cap": 8}}),
    ],
)
def test_what_makes_sense_is_read(place, text, general, targets):
    """Every documented key and form is read as written."""
    document = read(put(place, text))

    def plain(section):
        return {name: stated.value for name, stated in section.items()}

    assert general == plain(document.general)
    assert targets == {name: plain(section) for name, section in document.targets.items()}


@pytest.mark.parametrize("key", ["idle_timeout", "cap"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0", "0"),
        ("-1", "-1"),
        (str(MAX_CAP_SECONDS + 1), str(MAX_CAP_SECONDS + 1)),
        (str(2**63), str(2**63)),
        (str(10**200), "a huge number"),
        ("9" * 970, "a huge number"),
        ("true", "true"),
        ("900.0", "900.0"),
        ("inf", "inf"),
        ("nan", "nan"),
        ('"900"', "'900'"),
        ('"15m"', "'15m'"),
        ('"\\u001b[2J"', "'\\x1b[2J'"),
        (f'"{"x" * 100}"', f"'{'x' * 59}..."),
        ("[900]", "a value of type list"),
        ("{}", "a value of type dict"),
        ("2026-11-22", "a value of type date"),
    ],
)
def test_time_that_makes_no_sense_is_refused(place, key, value, found):
    """Only a whole number of seconds in the range is a time; nothing is rounded."""
    put(place, f"# a comment\n\n{key} = {value}\n")

    assert f": {key}: found {found}, {SECONDS}" == refused(place)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('store = "all"', ': store: found \'all\', expected "create", "update" or "never"'),
        ("store = false", ': store: found false, expected "create", "update" or "never"'),
        ('store = ["never"]', ": store: found a value of type list, expected"),
        ('keychain = ""', ": keychain: found '', expected the name of a keychain"),
        ('keychain = "plaintext"', ": keychain: found 'plaintext', expected the name"),
        ('keychain = "library:"', ": keychain: found 'library:', expected the name"),
        ("keychain = 1", ": keychain: found 1, expected the name"),
        ("idle_timeout = 9\ncap = 8", ": idle_timeout: found 9, expected at most 8, the cap of"),
        (
            f"idle_timeout = 5\n[{GITHUB}]\nidle_timeout = 6",
            f"{SECTION}: idle_timeout: found 6, expected at most 5, the idle_timeout of",
        ),
        (
            f"cap = 5\n[{GITHUB}]\ncap = 6",
            f"{SECTION}: cap: found 6, expected at most 5, the cap of",
        ),
        (
            f"cap = 5\n[{GITHUB}]\nidle_timeout = 6",
            f"{SECTION}: idle_timeout: found 6, expected at most 5, the cap of",
        ),
        (
            f"[{GITHUB}]\ncap = 5\nidle_timeout = 6",
            f"{SECTION}: idle_timeout: found 6, expected at most 5, the cap of",
        ),
        ("idle_timout = 5", ": there is no key 'idle_timout': did you mean idle_timeout"),
        ("Cap = 5", ": there is no key 'Cap': did you mean cap"),
        ("targets = 5", ": there is no key 'targets': did you mean target"),
        ("x = 5", ": there is no key 'x': expected idle_timeout, cap, store, keychain, audit, "),
        ("\n[audit]\nretention = 5", ": there is no key 'audit.retention': did you mean"),
        ("[audit]\ncap = 5", ": there is no key 'audit.cap': "),
        ("[audit]\nretention_days = 0", ": audit.retention_days: found 0, expected a whole"),
        ("[audit]\nretention_days = 3651", ": audit.retention_days: found 3651, expected"),
        ("[audit]\nretention_days = true", ": audit.retention_days: found true, expected"),
        ("audit.witness = 'me'", ": audit.witness: found 'me', expected \"none\""),
        ("audit = 5", ": audit: found 5, expected a section [audit]"),
        ('"audit.witness" = "none"', ": there is no key 'audit.witness': "),
        ("retention_days = 5", ": there is no key 'retention_days': expected"),
        (
            f"[{GITHUB}.audit]\nretention_days = 5",
            f"{SECTION}: there is no key 'audit': expected",
        ),
        ('"\\u001b" = 5', ": there is no key '\\x1b': expected"),
        ("revoked = true", ": revoked is allowed only in the policy file"),
        (f"[{GITHUB}]\nrevoked = true", f"{SECTION}: revoked is allowed only in the policy file"),
        (f'[{GITHUB}]\nkeychain = "kernel"', f"{SECTION}: keychain is not allowed in a target"),
        (f"[{GITHUB}]\nstroe = 1", f"{SECTION}: there is no key 'stroe': did you mean store"),
        (
            "target = 5",
            ": target: found 5, expected a section [target.NAME], its name in quotation",
        ),
        ("[[target]]\ncap = 1", ": target: found a value of type list, expected a section"),
        ("[target]\ncap = 1", " [target.'cap']: found 1, expected a section"),
        ("[target.github]\ncap = 1", ": found 'github', expected a section"),
        ("[target.github.com]\ncap = 1", ": found 'github', expected a section"),
        (
            f"[{GITHUB}]\n[target.'https://GITHUB.com']",
            " [target.'https://GITHUB.com']: another section is for the same target",
        ),
        (f"[{GITHUB}]\n[{GITHUB}]", ": not TOML: "),
        ("cap = 1\ncap = 2\n", ": not TOML: cannot overwrite a value (at line 2, column 8)"),
        ("cap = 1\ncap 2\n", ": not TOML: expected '=' after a key in a key/value pair (at line 2"),
        ("cap = '\0'", ": not TOML: found invalid character '\\x00' (at line 1, column 8)"),
        ("cap = '\x1b'", ": not TOML: found invalid character '\\x1b' (at line 1, column 8)"),
        ("\ufeffcap = 1", ": found a byte order mark at the start: save it as UTF-8 without one"),
        (b"cap = 1\n# \xff", ":2: found a byte that is not UTF-8"),
        ("cap = 1".encode("utf-16"), ":1: found a byte that is not UTF-8"),
        ("cap=" + "[\n" * 5000, ": not TOML: it nests too deep"),
        ("\ncap=" + "9" * LONGEST_LINE, f":2: more than {LONGEST_LINE} characters in a line"),
        ("\n" * (LONGEST_FILE + 1), f": the file has more than {LONGEST_FILE} bytes"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(place, text, said):
    """The message names section and key, what was found, and what is expected."""
    told = refused(put(place, text))

    assert told.startswith(said), told


@pytest.mark.parametrize(
    "name",
    [
        "github.com",
        "https://",
        "://github.com",
        "https://github.com/",
        "https://github.com/org",
        "https://ada@github.com",
        "https://*.github.com",
        "https://github.com?",
        "https://github.com#x",
        "https://git hub.com",
        "https://github.com\\u0000",
        "https://github.com\\u200b",
        "ht tps://github.com",
        "",
    ],
)
def test_target_that_would_never_fit_is_refused(policy, name):
    """A section that no request can match is refused, as it may be meant to revoke."""
    told = refused(put(policy, f'[target."{name}"]\nrevoked = true\n'))

    assert told.startswith(": found '")
    assert (
        'expected a section [target.NAME], its name in quotation marks and one like "http' in told
    )


@pytest.mark.parametrize(
    "name", ["docker://hub.example", "Vault://127.0.0.1:8200", "npm://a", "sparse+https://a"]
)
def test_target_of_a_tool_is_told_that_a_section_is_for_the_server(policy, name):
    """A namespace copied from `keylease status` is refused: a section names the server."""
    told = refused(put(policy, f'[target."{name}"]\nrevoked = true\n'))

    assert told.startswith(f": found '{name}', expected the protocol of the server")
    assert read(put(policy, '[target."aws://prod"]\nrevoked = true\n')).targets["aws://prod"]


@pytest.mark.parametrize(
    "host",
    [
        "git.example\\uff0fx",
        "\\uff0a.example",
        "\\ufffd.example",
        "ada%40git.example",
        "\\uff0e",
        ":443",
        "x" * 64 + "\u00fc.example",
    ],
)
def test_target_that_no_domain_name_can_be_is_refused(policy, host):
    """A host that cannot be a domain name, such as one with a wide slash, is refused."""
    told = refused(put(policy, f'[target."https://{host}"]\nrevoked = true\n'))

    assert "a host that internationalized domain names allow" in told


def test_two_spellings_of_a_server_are_one_section(policy):
    """Two sections for one server are refused, so none is overlooked."""
    one, other = "https://stra\u00dfe.example", "https://XN--STRAE-OQA.example:443"
    told = refused(put(policy, f'[target."{one}"]\n[target."{other}"]\n'))

    same = f" [target.'{other}']: another section is for the same target: https://xn--strae-oqa"
    assert told.startswith(same)
    assert 2 == len(
        read(put(policy, f'[target."{one}"]\n[target."https://strasse.example"]')).targets
    )


def test_revocation_stands_in_a_policy(policy):
    """A policy can revoke everything or a named target."""
    document = read(put(policy, f"revoked = false\n[{GITHUB}]\nrevoked = true\n"))

    assert document.general["revoked"].value is False
    assert document.targets["https://github.com"]["revoked"].value is True


@pytest.mark.parametrize("value", ["1", '"true"', "[]"])
def test_revocation_is_a_plain_yes_or_no(policy, value):
    """A value that only resembles yes or no is refused."""
    told = refused(put(policy, f"revoked = {value}"))

    assert told.startswith(": revoked: found ")
    assert told.endswith(", expected true or false")


@pytest.mark.parametrize(
    "text",
    [
        f"cap = 9\n[{GITHUB}]\ncap = 5",
        f"[ {GITHUB} ] # that one\r\ncap = 5\r\n",
        "target = { 'https://github.com' = { cap = 5 } }",
        "target.'https://github.com'.cap = 5",
    ],
)
def test_source_names_the_file_and_the_section(place, text):
    """Each value names the file and section that it comes from, in any TOML form."""
    document = read(put(place, text))

    stated = document.targets["https://github.com"]["cap"]
    assert f"{place.path}{SECTION}" == stated.source
    if document.general:
        assert place.path == document.general["cap"].source


def test_a_section_is_named_as_it_is_written(policy):
    """A section is named as written, on one short line without control characters."""
    name = "https://" + "A" * 100 + ".example"
    told = refused(put(policy, f'[target."{name}"]\nrevoked = 1\n'))

    assert f" [target.'https://{'A' * 51}...]: revoked: found 1, expected true or false" == told
    told = refused(put(policy, '[target."https://\u00e4.example"]\nrevoked = 1\n'))
    assert told.startswith(" [target.'https://\\xe4.example']: revoked: ")


def test_every_key_can_be_read(policy):
    """Every key can be set in a file."""
    words = {"store": "never", "keychain": "kernel", "audit.witness": "none"}
    values = {name: f'"{word}"' for name, word in words.items()} | {"revoked": "true"}
    put(policy, "".join(f"{name} = {values.get(name, 1)}\n" for name in KEYS))

    assert set(KEYS) == set(read(policy).general)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_file_that_others_can_write_is_not_believed(request, kind, mode):
    """A file that others can write is refused, as they decide what it says."""
    place = put(request.getfixturevalue(kind), "cap = 5", mode)

    assert f" has mode {mode:04o}: others can write it, so it is not trusted" == refused(place)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_file_in_a_directory_that_others_can_write_is_not_believed(request, kind, mode, directory):
    """A file in a directory that others can write is refused, as they can replace it."""
    place = put(request.getfixturevalue(kind), "cap = 5")
    directory.chmod(mode)

    with pytest.raises(ConfigError, match=f"keylease has mode {mode:04o}: others can write it"):
        read(place)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o400, 0o444])
def test_file_that_others_can_read_is_believed(request, kind, mode):
    """A file that others can read is accepted, as it has no secret."""
    place = put(request.getfixturevalue(kind), "cap = 5", mode)

    assert 5 == read(place).general["cap"].value


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
def test_file_of_another_user_is_not_believed(request, kind):
    """A policy of an ordinary user, or a user's file of another user, is refused."""
    place = put(request.getfixturevalue(kind), "cap = 5")
    me = os.geteuid()
    other = place._replace(owners=frozenset([me + 1]))

    with pytest.raises(ConfigError, match=f"belongs to user {me}, not to user {me + 1}, so it is"):
        read(other)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
def test_file_that_was_given_away_is_not_believed(request, kind):
    """The owner of the file counts too, not only the owner of its directory."""
    require_root("giving a file to another user")
    place = put(request.getfixturevalue(kind), "cap = 5")
    os.chown(place.path, 12345, 12345)

    assert " belongs to user 12345, not to user 0, so it is not trusted" == refused(place)


@POSIX
def test_directory_of_another_user_is_not_believed(policy, directory):
    """The owner of the directory counts too, not only the owner of the file."""
    require_root("giving a file to another user")
    put(policy, "cap = 5")
    os.chown(directory, 12345, 12345)

    with pytest.raises(ConfigError, match="keylease belongs to user 12345, not to user 0"):
        read(policy)


@POSIX
def test_policy_that_is_a_link_is_not_believed(policy, directory):
    """A policy that is a link is refused, because its target can change."""
    (directory / "elsewhere").write_text("cap = 5", "utf-8")
    Path(policy.path).symlink_to(directory / "elsewhere")

    assert " is a symbolic link, not a regular file, so it is not trusted" == refused(policy)


@POSIX
def test_policy_in_a_linked_directory_is_not_believed(directory, tmp_path):
    """A link in place of the policy's directory is not followed."""
    (tmp_path / "link").symlink_to(directory)
    policy = Place("policy", str(tmp_path / "link" / "policy.toml"), ME)
    put(policy, "cap = 5")

    with pytest.raises(ConfigError, match="link is not a directory"):
        read(policy)


@POSIX
@pytest.mark.usefixtures("usual_umask")
def test_users_own_file_may_be_a_link_to_a_file_of_the_user(place, directory):
    """The user's own file may be a link, as dotfile managers make them."""
    target = directory / "elsewhere"
    target.write_text("cap = 5", "utf-8")
    Path(place.path).symlink_to(target)

    assert 5 == read(place).general["cap"].value
    target.chmod(0o666)
    assert " has mode 0666: others can write it, so it is not trusted" == refused(place)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
@pytest.mark.parametrize(
    "make",
    [os.mkfifo if sys.platform != "win32" else None, os.mkdir],
    ids=["fifo", "directory"],
)
def test_what_is_no_file_is_refused_at_once(request, kind, make):
    """A FIFO or other non-file is refused at once, so it cannot block git."""
    place = request.getfixturevalue(kind)
    make(place.path, 0o600)

    assert " is not a regular file, so it is not trusted" == refused(place)


@POSIX
def test_dangling_link_is_refused(place, directory):
    """A dangling link is refused, not taken for a missing file."""
    Path(place.path).symlink_to(directory / "nowhere")

    assert ": the file exists but cannot be read: No such file or directory" == refused(place)


@POSIX
@pytest.mark.parametrize("kind", ["place", "policy"])
def test_unreadable_file_is_refused(request, kind):
    """An unreadable file is refused, so an unreadable policy permits nothing."""
    require_ordinary_user("root can read everything")
    place = put(request.getfixturevalue(kind), "cap = 5", 0)

    assert ": the file exists but cannot be read: Permission denied" == refused(place)


@POSIX
def test_failing_disk_is_told(place, mocker):
    """A disk error is reported with the system's own words."""
    put(place, "cap = 5")
    mocker.patch("os.read", side_effect=OSError(5, "Input/output error"))

    assert ": the file exists but cannot be read: Input/output error" == refused(place)
