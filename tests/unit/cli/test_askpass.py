"""`keylease askpass`: which question is answered from which session."""

from __future__ import annotations

import os

import pytest

from keylease import __main__ as program

URL = "https://git.example"
KEY = "ssh-key://laptop"


@pytest.fixture
def ask(console, monkeypatch):
    """Return a function that asks one question and returns the code and what is answered."""
    for variable in ("KEYLEASE_ASKPASS", "KEYLEASE_ASKPASS_KEY", "SSH_ASKPASS_PROMPT"):
        monkeypatch.delenv(variable, raising=False)
    console.login(URL, "ada", b"git-pass")
    console.login(KEY, "ada", b"key-pass")

    def run(question, **environment):
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        return console.answer("askpass", question)

    return run


def events(console):
    """Return every event of the audit log after the logins."""
    return [line["event"] for line in console.audit()][5:]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'https://git.example': ", b"ada\n"),
        ("Password for 'https://ada@git.example': ", b"git-pass\n"),
        ("Password for 'https://git.example': ", b"git-pass\n"),
        ("Password for 'https://a%64a@git.example': ", b"git-pass\n"),
        ('Username for "https://git.example"', b"ada\n"),
        ('Password for "https://ada@git.example"', b"git-pass\n"),
    ],
)
def test_git_is_answered(ask, question, answer):
    """git gets the user name and the password of the very host that it names."""
    assert (0, answer, "") == ask(question)


def test_user_name_is_no_use(ask, console):
    """Only the password is a release; the name alone does not keep a session alive."""
    ask("Username for 'https://git.example': ")
    assert "session.released" not in events(console)

    ask("Password for 'https://ada@git.example': ")
    assert 1 == events(console).count("session.released")


@pytest.mark.parametrize(
    "question",
    [
        "Password for 'https://ada@evil.example/'https://git.example': ",
        "Password for 'https://git.example@evil.example': ",
        "Password for 'https://evil.example/https://git.example': ",
        "Password for 'https://evil.example': Password for 'https://git.example': ",
        "Password for 'x' 'https://git.example': ",
        "Password for 'http://git.example': ",
        "Password for 'https://git.example:443': ",
        "Password for 'https://bob@git.example': ",
        "Password for 'https://git.example\n': ",
        "x\nPassword for 'https://git.example': ",
        "Password for <https://git.example> Realm: ",
        "Enter your https://git.example password: ",
        "(ada@host) Enter passphrase for key 'https://git.example': ",
        "Password for https://git.example: ",
        'Password for "https://ada@evil.example"https://git.example"',
        'Password for "https://evil.example\\"https://git.example"',
        'Password for "https://bob@git.example"',
        "",
    ],
)
def test_no_question_gets_the_password_of_another_host(ask, question):
    """Text that a server or a URL puts into the question chooses no session."""
    code, out, _ = ask(question)

    assert (True, b"") == (code in {2, 3}, out)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("ada@host.example's password: ", b"git-pass\n"),
        ("(ada@host.example) Password: ", b"git-pass\n"),
        ("[sudo] password for ada: ", b"git-pass\n"),
        ("Enter passphrase for key '/home/ada/.ssh/id_ed25519': ", b"key-pass\n"),
        ("Enter passphrase for /home/ada/.ssh/id_ed25519: ", b"key-pass\n"),
        ("Enter passphrase: ", b"key-pass\n"),
        ("Password for 'https://ada@git.example': ", b"git-pass\n"),
    ],
)
def test_others_are_answered_from_what_the_user_named(ask, question, answer):
    """ssh and sudo name no URL: the environment does, one for passwords and one for keys."""
    named = {"KEYLEASE_ASKPASS": URL, "KEYLEASE_ASKPASS_KEY": KEY}

    assert (0, answer, "") == ask(question, **named)


@pytest.mark.parametrize(
    "question",
    [
        "(ada@evil.example) Enter passphrase for key '/home/ada/.ssh/id_ed25519': ",
        "ada@host.example's password: ",
    ],
)
def test_passphrase_of_a_key_goes_to_no_server(ask, question):
    """A server that asks like ssh itself does not get the passphrase of a key on this machine."""
    code, out, _ = ask(question, KEYLEASE_ASKPASS_KEY=KEY)

    assert (2, b"") == (code, out)


@pytest.mark.parametrize(
    "question",
    [
        "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
        "Enter PIN for ED25519-SK key /home/ada/.ssh/id: ",
        "Username: ",
    ],
)
def test_what_asks_for_no_password_is_refused(ask, question):
    """A password is no answer to a question for yes or no."""
    code, out, err = ask(question, KEYLEASE_ASKPASS=URL, KEYLEASE_ASKPASS_KEY=KEY)

    assert (2, b"") == (code, out)
    assert "keylease: error: the question does not ask for a password\n" in err


@pytest.mark.parametrize("kind", ["confirm", "none"])
def test_confirmation_of_ssh_is_refused(ask, kind):
    """ssh says what it wants; a notice with the word password in it is answered with nothing."""
    said = ask("Allow password?", KEYLEASE_ASKPASS=URL, SSH_ASKPASS_PROMPT=kind)

    assert (2, b"") == said[:2]


def test_missing_variable_is_named(ask):
    """An incomplete setup is refused with the missing part."""
    code, _, err = ask("[sudo] password for ada: ")

    assert 2 == code
    assert "keylease: hint: name the session: KEYLEASE_ASKPASS=https://USER@HOST\n" in err


def test_password_that_would_be_cut_is_refused(ask, console):
    """A tool reads one line: a password of two would be taken for its first."""
    from keylease.model import Credential, Target  # noqa: PLC0415 - only here
    from keylease.secrets.secret import Secret  # noqa: PLC0415
    from keylease.wiring import Wiring  # noqa: PLC0415

    target = Target("web", "https", "two.example")
    Wiring().session.create(target, Credential(None, Secret(b"one\ntwo")))

    assert (1, b"") == ask("Password for 'https://two.example': ")[:2]
    assert (1, b"") == ask("Username for 'https://two.example': ")[:2]
    del console


def test_terminal_gets_nothing(ask, console, monkeypatch):
    """On a terminal no password is shown or released."""
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 1)

    assert (2, b"") == ask("Password for 'https://git.example': ")[:2]
    assert "session.released" not in events(console)


def test_program_takes_nothing_but_the_question(ask, monkeypatch):
    """Tools start keylease-askpass with one word, whatever it begins with. It is shut first."""
    asked = []
    monkeypatch.setattr("keylease.secrets.hardening.restrict_process", lambda: asked.append("shut"))
    monkeypatch.setattr("keylease.cli.main", lambda words: asked.append(words) or 0)

    for question in ("Password for 'https://git.example': ", "--help"):
        monkeypatch.setattr("sys.argv", ["keylease-askpass", question])
        program.askpass()

    assert [
        "shut",
        ["askpass", "--", "Password for 'https://git.example': "],
        "shut",
        ["askpass", "--", "--help"],
    ] == asked
    code, out, _ = ask("--help")
    assert (0, b"") == (code, out)


def test_missing_session_is_named_exactly(ask):
    """The question of git, ssh or sudo can be copied as it is, with the user."""
    code, out, err = ask("Password for 'https://bob@git.example': ")

    assert (3, b"") == (code, out)
    assert "start one with: keylease login https://git.example --username bob\n" in err


ASKED_TWICE = [
    "ada@host.example's password: ",
    "[sudo] password for ada: ",
    "Enter passphrase for key '/home/ada/.ssh/id_ed25519': ",
    "Password for 'https://ada@git.example': ",
    'Password for "https://ada@git.example"',
]


@pytest.mark.parametrize("question", ASKED_TWICE)
def test_process_that_asks_again_is_refused(ask, console, question):
    """A tool that was refused the password does not get it a second time, nor a third."""
    named = {"KEYLEASE_ASKPASS": URL, "KEYLEASE_ASKPASS_KEY": KEY}
    assert 0 == ask(question, **named)[0]

    for _ in range(2):
        code, out, err = ask(question, **named)
        assert (1, b"") == (code, out)
        assert "keylease: error: this process received the secret for " in err

    assert 1 == events(console).count("session.released")
    assert ["asked_again"] * 2 == [
        line["reason"] for line in console.audit() if line["event"] == "session.refused"
    ]


def test_refused_question_keeps_no_session_alive(ask, console):
    """A tool that asks in a loop does not move the end of the session."""
    ask("[sudo] password for ada: ", KEYLEASE_ASKPASS=URL)
    for _ in range(900 // 50):
        console.clock.advance(50)
        assert 0 != ask("[sudo] password for ada: ")[0]

    assert URL not in console.urls()


def test_right_password_is_given_after_a_new_login(ask, console):
    """After a login with the right password the tool need not start again."""
    ask("[sudo] password for ada: ", KEYLEASE_ASKPASS=URL)
    console.login(URL, "ada", b"right")

    assert (0, b"right\n", "") == ask("[sudo] password for ada: ")


def test_other_questions_of_the_process_are_answered(ask):
    """git asks for a name and a password, and ssh-add for the passphrase of each key."""
    for name in ("one", "two", "three"):
        question = f"Enter passphrase for {name}: "
        assert (0, b"key-pass\n", "") == ask(question, KEYLEASE_ASKPASS_KEY=KEY)
    for _ in range(2):
        assert (0, b"ada\n", "") == ask("Username for 'https://git.example': ")
    assert (0, b"git-pass\n", "") == ask("Password for 'https://ada@git.example': ")


def test_other_process_is_answered(ask, monkeypatch):
    """A script runs sudo three times: each is a process of its own and gets its answer."""
    for number in range(3):
        monkeypatch.setattr("keylease.store.askers.asking", lambda *_, number=number: f"7:{number}")
        said = ask("[sudo] password for ada: ", KEYLEASE_ASKPASS=URL)
        assert (0, b"git-pass\n", "") == said


@pytest.mark.parametrize(
    "question",
    [
        "Bad passphrase, try again for /home/ada/.ssh/id_ed25519: ",
        "Bad passphrase, try again for id_ed25519 (will confirm each use): ",
    ],
)
def test_question_that_says_that_the_answer_was_wrong_is_refused(ask, console, question):
    """ssh-add asks so after a wrong passphrase, without end."""
    code, out, err = ask(question, KEYLEASE_ASKPASS_KEY=KEY, KEYLEASE_ASKPASS=URL)

    assert (1, b"") == (code, out)
    assert "the question says that the last passphrase was wrong\n" in err
    assert "session.released" not in events(console)
