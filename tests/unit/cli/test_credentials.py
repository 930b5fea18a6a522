"""`keylease login --tool`: what is asked for each tool, and what the tool is then told."""

from __future__ import annotations

import json

import pytest

from keylease.cli.credentials import LONGEST_SECRET
from keylease.protocols.base import Call
from keylease.protocols.peers import load
from keylease.secrets.secret import Secret
from keylease.wiring import Wiring

SERVER = "https://cluster.example:6443"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----\n"
STDIN = "--password-stdin"
GET = '{"v":1,"kind":"get","registry":{"index-url":"sparse+https://r.example/i/"}}'


def ask(tool, *arguments, message=""):
    """Return what the tool's own helper answers."""
    protocol = load(tool)
    request = protocol.parse(Call(arguments, {}, bytearray(message.encode())))
    reply = Wiring().session.handle(request)
    return json.loads(b"".join(protocol.render(request, reply)))


@pytest.fixture
def questions(monkeypatch):
    """Play the person at the terminal; return what was asked, and take the answers."""
    asked = {}

    def answer(question):
        asked[question] = None
        return answers.pop(0)

    answers = []
    monkeypatch.setattr("keylease.system.terminal.ask", answer)
    monkeypatch.setattr("keylease.system.terminal.ask_secret", lambda text: Secret(answer(text)))
    return asked, answers


def test_cargo_is_answered_with_the_token(console):
    """A token has no user, so login does not ask for one."""
    said = console.run(
        "login", "--tool", "cargo", "sparse+https://r.example/i/", STDIN, stdin=b"t\n"
    )

    assert (0, "") == (said.code, said.err)
    assert "started a session for https://r.example/i" == said.out.splitlines()[0]
    assert "t" == ask("cargo", "--cargo-plugin", message=GET)["Ok"]["token"]


def test_aws_is_answered_with_both_halves_of_the_key(console):
    """The access key id is the user's name."""
    words = ("login", "--tool", "aws", "prod", "--username", "AKIA", STDIN)
    said = console.run(*words, "--expires", "2026-09-21T15:00:00Z", stdin=b"secret")

    assert (0, "") == (said.code, said.err)
    assert {
        "Version": 1,
        "AccessKeyId": "AKIA",
        "SecretAccessKey": "secret",
        "Expiration": "2026-09-21T15:00:00Z",
    } == ask("aws", "prod")


def test_each_secret_is_asked_for_by_its_name(console, questions):
    """A temporary key is of no use without its session token, so that is asked for by itself."""
    asked, answers = questions
    answers += [b"ASIA", b"secret", b"token"]

    said = console.run("login", "--tool", "aws", "prod")

    assert (0, "") == (said.code, said.err)
    assert [
        "Access key id for aws://prod: ",
        "Secret access key for aws://prod as ASIA: ",
        "Session token for aws://prod as ASIA: ",
    ] == list(asked)
    assert "token" == ask("aws", "prod")["SessionToken"]


def test_a_field_is_asked_for_once_it_is_named(console, questions):
    """A session token of any key is asked for with --field."""
    asked, answers = questions
    answers += [b"secret", b"token"]

    words = ("login", "--tool", "aws", "prod", "--username", "AKIA")
    said = console.run(*words, "--field", "session_token")

    assert (0, "") == (said.code, said.err)
    assert "Session token for aws://prod as AKIA: " in asked
    assert "token" == ask("aws", "prod")["SessionToken"]


def test_another_key_takes_the_place_of_the_first(console):
    """A tool has one credential for a target, and the old one does not come back."""
    words = ("login", "--tool", "aws", "prod", STDIN, "--username")
    console.run(*words, "AKIA1", stdin=b"one")
    console.run(*words, "AKIA2", stdin=b"two")

    assert ["AKIA2"] == [each["username"] for each in console.status()["sessions"]]


def test_kubernetes_is_answered_with_the_certificate_and_its_key(console, tmp_path):
    """Both are taken from their files as they are, line ends and all."""
    (tmp_path / "c").write_text(CERTIFICATE, "utf-8", newline="")
    (tmp_path / "k").write_text(KEY, "utf-8", newline="")
    words = ("--field-file", "certificate", str(tmp_path / "c"))

    said = console.run(
        "login", "--tool", "kubernetes", SERVER, *words, "--field-file", "key", str(tmp_path / "k")
    )

    assert (0, "") == (said.code, said.err)
    status = ask("kubernetes", SERVER)["status"]
    assert (CERTIFICATE, KEY) == (status["clientCertificateData"], status["clientKeyData"])
    assert "holds        a secret" in console.run("status", "--tool", "kubernetes", SERVER).out


def test_a_line_end_after_a_token_in_a_file_is_none_of_it(console, tmp_path):
    """An editor puts one there, and no service would take the token with it."""
    (tmp_path / "t").write_bytes(b"token\n")
    words = ("--field-file", "session_token", str(tmp_path / "t"))

    console.run("login", "--tool", "aws", "p", "--username", "A", STDIN, *words, stdin=b"s")

    assert "token" == ask("aws", "p")["SessionToken"]


@pytest.mark.parametrize(
    "words",
    [
        ("cargo", "https://r.example/i", "--username", "ada"),
        ("cargo", "https://r.example/i", "--field", "certificate"),
        ("cargo", "registry.example"),
        ("aws", "two words"),
        ("aws", "prod", "--username", "A", "--field", "token"),
        ("aws", "prod", "--username", "A", "--field", "session_token", "--field", "session_token"),
        ("aws", "prod", "--username", "A", "--field-file", "session_token", "/nowhere"),
        ("aws", "prod", "--username", "A", "--field-file", "session_token", "/"),
        ("aws", "prod", "--username", "A", "--expires", "tomorrow"),
        ("aws", "prod", "--username", "A", "--expires", "2020-01-01T00:00:00Z"),
        ("aws", "prod", "--username", "A", "--verify"),
        ("kubernetes", SERVER, "--field-file", "certificate", "/nowhere"),
        ("kubernetes", SERVER, "--field-file", "key", "/x", "--field-file", "certificate", "/x"),
        ("kubernetes", "cluster"),
        ("git", "https://git.example"),
        ("nothing", "https://git.example"),
    ],
)
def test_what_a_tool_has_no_use_for_is_refused(console, words):
    """Nothing is stored of a login that the tool could not be answered from."""
    said = console.run("login", "--tool", *words, STDIN, stdin=b"secret")

    assert (2, "") == (said.code, said.out)
    assert said.err.startswith("keylease: error: ")
    assert "secret\n" not in said.err
    assert [] == console.urls()


def test_a_file_that_is_too_long_is_refused(console, tmp_path):
    """Memory is bounded, whatever the file is."""
    (tmp_path / "t").write_bytes(b"x" * (LONGEST_SECRET + 1))
    words = ("--field-file", "session_token", str(tmp_path / "t"))

    said = console.run("login", "--tool", "aws", "p", "--username", "A", STDIN, *words, stdin=b"s")

    assert 2 == said.code
    assert "longer than" in said.err


@pytest.mark.parametrize("secret", [b"", b"two\nlines", b"nul\0"])
def test_a_secret_that_is_none_is_refused(console, secret):
    """An empty answer starts no session, and neither does one that no header can have."""
    words = ("login", "--tool", "cargo", "https://r.example/i", STDIN)

    assert 2 == console.run(*words, stdin=secret).code


def test_the_other_commands_take_the_same_names(console):
    """status, extend and logout accept the tool's name, as login does."""
    console.run("login", "--tool", "aws", "prod", "--username", "AKIA", STDIN, stdin=b"s")
    console.login("https://git.example")

    assert "namespace    aws" in console.run("status", "--tool", "aws", "prod").out
    assert 0 == console.run("extend", "--tool", "aws", "prod").code
    assert 3 == console.run("status", "aws://prod").code, "git has no such session"
    assert "aws://prod  " in console.run("list").out
    assert 0 == console.run("logout", "--tool", "aws", "prod").code
    assert ["https://git.example"] == console.urls()
    assert 3 == console.run("logout", "--tool", "aws", "prod").code


def test_a_tool_without_a_name_is_refused(console):
    """--tool says how the URL is to be read, so it needs one."""
    assert 2 == console.run("logout", "--tool", "aws").code
    assert 2 == console.run("logout", "--all", "--tool", "aws").code
    assert 2 == console.run("status", "--tool", "aws").code
