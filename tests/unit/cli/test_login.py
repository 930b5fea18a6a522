"""`keylease login`: what a person types becomes the session that git is answered from."""

from __future__ import annotations

import pytest

from keylease.cli.credentials import LONGEST_SECRET
from keylease.errors import SessionNotFoundError
from keylease.model import MAX_CAP_SECONDS
from keylease.protocols import git
from keylease.protocols.base import Call
from keylease.wiring import Wiring

STDIN = ("--username", "ada", "--password-stdin")


def ask(message):
    """Return git's answer to a message, as bytes."""
    request = git.parse(Call(("get",), {}, bytearray(message)))
    reply = Wiring().session.handle(request)
    return b"".join(git.render(request, reply))


def test_git_is_answered_with_the_password(console):
    """git gets the typed password, byte by byte."""
    console.login("https://git.example", "ada", b"p=\xc3\xa4\xff%20 ")

    answer = ask(b"protocol=https\nhost=git.example\n\n")

    assert b"username=ada\npassword=p=\xc3\xa4\xff%20 \n" == answer


def test_login_says_what_it_started(console):
    """A person sees what the session is for and how long it lasts."""
    said = console.run("login", "https://git.example:8443/a/b.git", *STDIN, stdin=b"secret\n")

    assert "" == said.err
    assert [
        "started a session for https://git.example:8443/a/b.git as ada",
        "it ends after 15 min without use, after 8 h at the latest",
    ] == said.out.splitlines()


def test_login_and_logout_are_in_the_audit_log(console):
    """An admin sees that a person asked for it, and for what."""
    console.login()
    console.run("logout", "https://git.example")
    console.login()
    console.run("logout", "--all")
    console.run("logout", "--all")

    lines = [line for line in console.audit() if line["event"] in {"login", "logout"}]

    assert [
        ("login", "ok", None, "git.example"),
        ("logout", "ok", None, "git.example"),
        ("login", "ok", None, "git.example"),
        ("logout", "ok", None, None),
        ("logout", "refused", "not_found", None),
    ] == [
        (line["event"], line["outcome"], line["reason"], (line["target"] or {}).get("host"))
        for line in lines
    ]


def test_session_of_a_path_answers_with_and_without_path(console):
    """A login for one repository serves git with and without useHttpPath."""
    console.login("https://git.example/org/repo.git")

    assert ask(b"protocol=https\nhost=git.example\n\n")
    assert ask(b"protocol=https\nhost=git.example\npath=org/repo.git\n\n")


def test_session_of_a_host_does_not_answer_for_a_path(console):
    """A git that asks for each path by itself is not given the password of all."""
    console.login("https://git.example/")
    assert ask(b"protocol=https\nhost=git.example\n\n"), "the session is there"

    with pytest.raises(SessionNotFoundError):
        ask(b"protocol=https\nhost=git.example\npath=org/repo.git\n\n")


def test_user_in_the_url_is_taken(console):
    """login reads a URL as git does, and decodes percent signs."""
    said = console.run("login", "https://ada%40corp@git.example", "--password-stdin", stdin=b"x")

    assert 0 == said.code
    assert "ada@corp" == console.status()["sessions"][0]["username"]


@pytest.mark.parametrize(
    "url",
    ["https://ada:hunter2@git.example", "https://ada:@git.example", "https://:hunter2@g.example"],
)
def test_password_in_the_url_is_refused_and_not_repeated(console, url):
    """A password on the command line is known to others, and keylease does not help."""
    said = console.run("login", url, "--password-stdin", stdin=b"x")

    assert (2, "") == (said.code, said.out)
    assert "keylease: error: the URL contains a password\n" in said.err
    assert "hunter2" not in said.err
    assert not console.state.exists()


@pytest.mark.parametrize(
    "url",
    [
        "git.example",
        "https://",
        "https:///path",
        "cert:///path",
        "://git.example",
        "",
        "https://git.example\nhost=other.example",
        "https://git.example\n\n",
        "https://git.example\rx",
        "https://git.example%0ahost=other.example",
        "https://git.example/%00",
        "https://a%0d@git.example",
        "https://git.\x7fexample",
        "https://git.example/" + "a" * 70_000,
    ],
)
def test_url_that_git_could_not_ask_for_is_refused(console, url):
    """No session is made that nothing could ask for, and no line is smuggled into a message."""
    said = console.run("login", url, *STDIN, stdin=b"x")

    assert (2, "") == (said.code, said.out)
    assert said.err.startswith("keylease: error: ")
    assert 2 == len(said.err.splitlines())
    assert len(said.err) < 300
    assert not console.state.exists()


def test_scheme_in_capitals_is_refused(console):
    """git has no transport called HTTPS, so login refuses it."""
    said = console.run("login", "HTTPS://git.example", *STDIN, stdin=b"x")

    assert 2 == said.code
    assert "hint: write it as https\n" in said.err


def test_host_is_taken_as_it_is_written(console):
    """git tells GIT.example from git.example and :443 from no port, and so does login."""
    console.login("https://GIT.example:443")

    assert ["https://GIT.example:443"] == console.urls()


def test_two_users_at_once_are_refused(console):
    """login refuses a URL and an option that disagree."""
    said = console.run("login", "https://bob@git.example", *STDIN, stdin=b"x")

    assert 2 == said.code
    assert "one user" in said.err


def test_same_user_twice_is_no_contradiction(console):
    """The URL may name the user that the option names."""
    said = console.run("login", "https://ada@git.example", *STDIN, stdin=b"x")

    assert 0 == said.code


def test_user_name_with_a_control_character_is_refused(console):
    """A line end in a name would be read by git as the end of the name."""
    words = ("--username", "ada\npassword=x", "--password-stdin")
    said = console.run("login", "https://git.example", *words, stdin=b"x")

    assert 2 == said.code
    assert "control character" in said.err


def test_empty_user_name_is_a_name(console):
    """Single sign-on uses an empty user name, so login does not ask for one."""
    words = ("--username", "", "--password-stdin")
    said = console.run("login", "https://git.example", *words, stdin=b"x")

    assert 0 == said.code
    assert "" == console.status()["sessions"][0]["username"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b" secret \n", b" secret "),
        (b"x" * LONGEST_SECRET + b"\r\n", b"x" * LONGEST_SECRET),
    ],
)
def test_one_line_end_after_the_password_is_not_part_of_it(console, typed, kept):
    """`echo`, `printf` and a file from Windows all give the same password."""
    console.login(password=typed)

    assert b"\npassword=" + kept + b"\n" in ask(b"protocol=https\nhost=git.example\n\n")


@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b"\n",
        b"\r\n",
        b"one\ntwo\n",
        b"secret\n\n",
        b"cr\rinside",
        b"nul\0inside",
        b"x" * (LONGEST_SECRET + 1),
    ],
)
def test_password_that_no_tool_could_be_told_is_refused(console, typed):
    """An impossible password is refused at once, not at the next git command."""
    said = console.run("login", "https://git.example", *STDIN, stdin=typed)

    assert (2, "") == (said.code, said.out)
    assert "keylease: error: " in said.err
    assert not console.state.exists()


def test_refused_password_leaves_the_session_that_is_there(console):
    """A slip does not cost the session that works."""
    console.login()

    console.run("login", "https://git.example", *STDIN, stdin=b"")

    assert ["https://git.example"] == console.urls()


def test_timeout_is_the_idle_timeout(console):
    """A session with a timeout of one second is over after one second."""
    console.run("login", "https://git.example", *STDIN, "--timeout", "1", stdin=b"x")
    assert ["https://git.example"] == console.urls()

    console.clock.advance(1)

    assert [] == console.urls()


@pytest.mark.parametrize("timeout", ["0", "-1", str(MAX_CAP_SECONDS + 1), "9" * 30, "soon"])
def test_timeout_out_of_range_is_refused(console, timeout):
    """A timeout that means nothing, or more than the cap, is not rounded to one that does."""
    said = console.run("login", "https://git.example", *STDIN, "--timeout", timeout, stdin=b"x")

    assert 2 == said.code
    assert said.err.startswith("keylease: error: ")


def test_second_login_replaces_the_first(console):
    """After a changed password there is one session, with the new one."""
    console.login(password=b"old")
    console.login(password=b"new")

    assert ["https://git.example"] == console.urls()
    assert b"password=new\n" in ask(b"protocol=https\nhost=git.example\n\n")


def test_login_starts_a_revoked_vault_afresh(console):
    """After an admin deleted the key, a person gets on by logging in again, without the old."""
    console.login("https://old.example")
    console.revoke()
    assert 5 == console.run("status").code

    console.login("https://new.example")

    assert ["https://new.example"] == console.urls()
    assert 2 == console.status()["keychain"]["generation"]


def test_locked_keychain_refuses_with_its_own_code(console):
    """A script can tell a locked keychain from a wrong URL."""
    console.keystore.lock()

    said = console.run("login", "https://git.example", *STDIN, stdin=b"x")

    assert (4, "") == (said.code, said.out)
    assert "locked" in said.err
