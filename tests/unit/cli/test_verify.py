"""`keylease login --verify`: who is asked, with what, and what each answer means."""

from __future__ import annotations

import base64

import pytest
from support.git_server import GitServer, find_git
from support.web_server import Answer, WebServer, make_certificate

from keylease.cli.verify import check
from keylease.errors import UsageError
from keylease.model import Target

PASSWORD = b"hunter2-canary"
BASIC = "Basic " + base64.b64encode(b"ada:" + PASSWORD).decode()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Let no proxy of this machine decide."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def login(console, url, *words, username="ada", password=PASSWORD):
    """Log in with `--verify`."""
    options = ("--username", username, "--password-stdin", "--verify", *words)
    return console.run("login", url, *options, stdin=password)


def private(asked):
    """Answer as a server does that lets only ada in."""
    return Answer(200 if asked.authorization == BASIC else 401)


@pytest.fixture
def git_server(tmp_path):
    """Return a real git server with one repository that only ada may read."""
    if find_git() is None:
        pytest.skip("no git here can serve HTTP")
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as server:
        server.add_repository("project.git", {"README": "read me\n"})
        server.allow("ada", PASSWORD.decode())
        yield server


def test_real_git_server_takes_the_password(console, git_server):
    """A person reads that it is right, and the session is there."""
    said = login(console, git_server.url("project.git"))

    assert (0, "") == (said.code, said.err)
    assert f"verified: {git_server.host} accepts the password" == said.out.splitlines()[0]
    assert [git_server.url("project.git")] == console.urls()
    asked = [(seen.method, seen.path, seen.authorised) for seen in git_server.seen()]
    request = "/project.git/info/refs?service=git-upload-pack"
    assert [("GET", request, True), ("GET", request, False)] == asked


def test_real_git_server_refuses_the_password(console, git_server):
    """A slip shows at once, with a code of its own, and no session is made of it."""
    said = login(console, git_server.url("project.git"), password=b"wrong")

    assert (10, "") == (said.code, said.out)
    assert f"keylease: error: {git_server.host} refuses the password" in said.err
    assert "wrong" not in said.err
    assert not console.state.exists()


def test_refused_password_leaves_the_session_that_is_there(console, git_server):
    """A slip does not cost the session that works."""
    console.login(git_server.url("project.git"))

    login(console, git_server.url("project.git"), password=b"wrong")

    assert [git_server.url("project.git")] == console.urls()


def test_without_verify_nobody_is_asked(console, git_server):
    """By default no password goes anywhere."""
    console.login(git_server.url("project.git"))

    assert [] == git_server.seen()


def test_request_is_the_one_that_is_documented(console):
    """The path of the URL, git's own query, and an agent that servers take for git."""
    with WebServer(private) as server:
        login(console, f"{server.url}/a%20b/%C3%A9.git/")

        assert ["/a%20b/%C3%A9.git/info/refs?service=git-upload-pack"] * 2 == [
            asked.path for asked in server.seen
        ]
        assert [BASIC, None] == [asked.authorization for asked in server.seen]
        assert all(asked.agent.startswith("git/") for asked in server.seen)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "answers the same without a password"),
        (403, "answered 403 Forbidden"),
        (404, "answered 404 Not Found"),
        (500, "answered 500 Internal Server Error"),
        (599, "answered 599"),
        (304, "answered 304, a redirect that is not followed"),
    ],
)
def test_other_answer_is_a_warning(console, status, words):
    """An answer that says nothing about the password does not stop a login or count as verified."""
    with WebServer(lambda _: Answer(status)) as server:
        said = login(console, server.url)

        assert 0 == said.code
        assert f"keylease: warning: the password is not verified: {server.host} {words}" in said.err
        assert "verified" not in said.out
        assert [server.url] == console.urls()


def test_server_that_is_not_there_is_a_warning(console):
    """A login works offline."""
    with WebServer(private) as server:
        url = server.url

    said = login(console, url)

    assert 0 == said.code
    assert "the password is not verified: the server did not answer: " in said.err


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_password_does_not_follow_a_redirect_elsewhere(console, status):
    """Another port is another server, and is not even asked."""
    with WebServer(private) as other:
        with WebServer(lambda _: Answer(status, f"{other.url}/x")) as server:
            said = login(console, server.url)

        assert 0 == said.code
        assert f"answered {status}, a redirect that is not followed" in said.err
        assert [] == other.seen


def test_redirect_on_the_same_server_is_followed_with_the_password(console):
    """A repository that has moved on its server is asked where it is now."""

    def answer(asked):
        if asked.path.startswith("/old"):
            return Answer(301, "/new.git/info/refs?service=git-upload-pack")
        return private(asked)

    with WebServer(answer) as server:
        said = login(console, f"{server.url}/old.git")

        assert (0, "") == (said.code, said.err)
        assert [BASIC, BASIC, None, None] == [asked.authorization for asked in server.seen]


def test_redirect_without_an_end_is_a_warning(console):
    """A server that leads in circles does not keep a person waiting."""
    with WebServer(lambda _: Answer(302, "/again")) as server:
        said = login(console, server.url)

        assert 0 == said.code
        assert "a redirect that is not followed" in said.err
        assert len(server.seen) < 10


def test_certificate_of_a_known_authority_is_enough(console, tmp_path, monkeypatch):
    """By HTTPS the password is asked about as by HTTP on this machine."""
    certificate = make_certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with WebServer(private, certificate) as server:
        said = login(console, server.url)

        assert (0, "") == (said.code, said.err)
        assert [BASIC, None] == [asked.authorization for asked in server.seen]


@pytest.mark.parametrize("known", [False, True])
def test_certificate_that_is_not_valid_gets_no_password(console, tmp_path, monkeypatch, known):
    """With an unknown authority or another host's certificate the server gets no request."""
    certificate = make_certificate(tmp_path / "server.pem", "127.0.0.2" if known else "127.0.0.1")
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with WebServer(private, certificate) as server:
        said = login(console, server.url)

        assert 0 == said.code
        assert "the server did not answer: its certificate is not valid: " in said.err
        assert [] == server.seen


def test_proxy_gets_no_password_in_the_clear(console, monkeypatch):
    """This machine is asked directly, whatever proxy is set."""
    with WebServer(private) as proxy, WebServer(private) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        said = login(console, server.url)

        assert (0, "") == (said.code, said.err)
        assert [] == proxy.seen


@pytest.mark.parametrize(
    "url",
    [
        "http://git.example",
        "http://localhost.git.example",
        "http://127.0.0.1.git.example",
        "http://10.0.0.1:8080",
        "http://[::2]",
    ],
)
def test_password_is_not_sent_in_the_clear(console, url):
    """It is refused before a password is asked for, and says why."""
    said = console.run("login", url, "--username", "ada", "--verify")

    assert (2, "") == (said.code, said.out)
    assert "would send the password unencrypted" in said.err
    assert not console.state.exists()


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.9.9.9:80", "[::1]:80"])
def test_this_machine_can_be_asked_in_the_clear(host):
    """A request to the local machine crosses no network."""
    assert None is check(Target("web", "http", host))


@pytest.mark.parametrize(
    "target",
    [
        Target("web", "smtp", "git.example"),
        Target("web", "HTTPS", "git.example"),
        Target("web", "https", "evil.example/git.example"),
        Target("web", "https", "ada@git.example"),
        Target("web", "https", "git.example?x"),
        Target("web", "https", "git.example#x"),
        Target("web", "https", "git.example\\x"),
        Target("web", "https", "git.ex\xe4mple"),
        Target("web", "https", ""),
        Target("web", "https", "git.example:"),
    ],
)
def test_host_that_could_be_read_in_two_ways_is_not_asked(target):
    """The password goes to the host of the session, not to what an URL library makes of it."""
    with pytest.raises(UsageError):
        check(target)


def test_user_name_with_a_colon_is_refused(console):
    """Basic authentication cannot say it, and would shift a part of it into the password."""
    with WebServer(private) as server:
        said = login(console, server.url, username="a:da")

        assert 2 == said.code
        assert [] == server.seen
