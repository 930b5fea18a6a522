"""The git server of the tests: a real git talks to it, and it really checks passwords."""

import http.client
import os
import subprocess
import urllib.error
import urllib.request

import pytest
from support.git_server import GitServer, Seen, find_git

GIT = find_git()
pytestmark = pytest.mark.skipif(GIT is None, reason="no git here can serve HTTP")

ADA = ("ada", "correct horse: battery staple")
FILES = {"README": "read me\n"}


@pytest.fixture
def server(tmp_path):
    """A server with one repository and one account."""
    root = tmp_path / "served"
    root.mkdir()
    with GitServer(root) as server:
        server.add_repository("project.git", FILES)
        server.allow(*ADA)
        yield server


@pytest.fixture
def git(tmp_path):
    """Run git in its own home, with a plaintext helper and without a terminal to ask on."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environment |= {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }

    def run(*words, stdin=""):
        return subprocess.run(
            [GIT, "-c", "credential.helper=store", *words],
            input=stdin,
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def approve(git, server, username, password):
    """Give git a credential, as if the user had answered its question."""
    message = f"protocol=http\nhost={server.host}\nusername={username}\npassword={password}\n\n"
    assert 0 == git("credential", "approve", stdin=message).returncode


def test_right_password_clones(git, server, tmp_path):
    """The right password opens the repository."""
    approve(git, server, *ADA)

    done = git("clone", server.url("project.git"), "copy")

    assert 0 == done.returncode, done.stderr
    assert FILES["README"] == (tmp_path / "home" / "copy" / "README").read_text()


def test_every_request_is_recorded_with_its_verdict(git, server):
    """A test can see that git came first without a credential and then with ada's password."""
    approve(git, server, *ADA)

    git("ls-remote", server.url("project.git"))

    refs = "/project.git/info/refs?service=git-upload-pack"
    first, second = server.seen()[:2]
    assert Seen("GET", refs, "", "", "", authorised=False) == first
    assert Seen("GET", refs, "", "basic", "ada", authorised=True) == second
    assert ADA[1] not in repr(server.seen())


def test_wrong_password_gets_nothing(git, server, tmp_path):
    """A wrong password is refused, and git cannot ask for another."""
    approve(git, server, "ada", "wrong")

    done = git("clone", server.url("project.git"), "copy")

    assert 128 == done.returncode
    assert "Authentication failed" in done.stderr
    assert not (tmp_path / "home" / "copy").exists()
    assert [False, False] == [seen.authorised for seen in server.seen()]


def test_no_password_is_no_prompt(git, server):
    """Without a credential git gives up at once instead of asking on the terminal."""
    done = git("ls-remote", server.url("project.git"))

    assert 128 == done.returncode
    assert "terminal prompts disabled" in done.stderr


def test_push_arrives(git, server):
    """A pushed commit is in the repository, so pushes are authenticated and served, too."""
    approve(git, server, *ADA)
    git("clone", server.url("project.git"), "copy")
    git("-C", "copy", "commit", "--allow-empty", "-m", "Pushed")

    done = git("-C", "copy", "push", "origin", "HEAD:main")

    assert 0 == done.returncode, done.stderr
    assert git("-C", "copy", "rev-parse", "HEAD").stdout.strip() == server.head("project.git")


def test_large_push_arrives_in_chunks(git, server, tmp_path):
    """A push larger than git's post buffer comes in chunks and arrives whole."""
    approve(git, server, *ADA)
    git("clone", server.url("project.git"), "copy")
    (tmp_path / "home" / "copy" / "noise").write_bytes(os.urandom(300_000))
    git("-C", "copy", "add", "noise")
    git("-C", "copy", "commit", "-m", "Noise")

    done = git("-C", "copy", "-c", "http.postBuffer=65536", "push", "origin", "HEAD:main")

    assert 0 == done.returncode, done.stderr
    assert "chunked" in [seen.encoding for seen in server.seen()]
    assert git("-C", "copy", "rev-parse", "HEAD").stdout.strip() == server.head("project.git")


def test_compressed_request_is_understood(git, server):
    """A large fetch request, which git compresses, is answered."""
    approve(git, server, *ADA)
    for number in range(60):
        server.commit("project.git", {"README": f"{number}\n"})
    git("clone", server.url("project.git"), "copy")
    # Commits that the server does not know make git send a long list of the commits that it has.
    for number in range(60):
        git("-C", "copy", "commit", "--allow-empty", "-m", f"Mine {number}")
    new = server.commit("project.git", {"README": "new\n"})

    done = git("-C", "copy", "-c", "protocol.version=0", "fetch", "origin")

    assert 0 == done.returncode, done.stderr
    assert "gzip" in [seen.encoding for seen in server.seen()]
    assert new == git("-C", "copy", "rev-parse", "origin/main").stdout.strip()


def test_password_changes_while_the_server_runs(git, server):
    """The old password fails as soon as the server has a new one."""
    approve(git, server, *ADA)
    assert 0 == git("ls-remote", server.url("project.git")).returncode

    server.allow("ada", "another")

    assert 128 == git("ls-remote", server.url("project.git")).returncode
    approve(git, server, "ada", "another")
    assert 0 == git("ls-remote", server.url("project.git")).returncode


def test_account_sees_its_own_repositories_only(git, server):
    """Two accounts on one host stay apart, so a test can tell whose credential was used."""
    server.add_repository("secret.git", FILES)
    server.allow("bob", "bobs", repositories=["secret.git"])
    approve(git, server, "bob", "bobs")

    assert 0 == git("ls-remote", server.url("secret.git", "bob")).returncode
    approve(git, server, "bob", "bobs")
    assert 128 == git("ls-remote", server.url("project.git", "bob")).returncode


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer token", 200),
        ("Bearer other", 401),
        ("Basic token", 401),
        ("Basic !!!", 401),
        ("Negotiate token", 401),
        ("token", 401),
        ("", 401),
    ],
)
def test_only_the_configured_token_is_let_in(server, header, status):
    """A bearer token is checked like a password, and an invalid one is refused without an error."""
    server.allow_bearer("token")
    request = urllib.request.Request(
        server.url("project.git/info/refs?service=git-upload-pack"),
        headers={"Authorization": header},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = answer.status
    except urllib.error.HTTPError as error:
        with error:
            found = error.code

    assert status == found


def test_fault_of_the_server_is_not_lost(tmp_path):
    """A bug in the test server fails the test instead of looking like a refusal."""
    broken = GitServer(tmp_path)
    broken._judge = None
    # The handler's thread records its error before it closes the connection, so none is missed.
    with pytest.raises(TypeError), broken, pytest.raises(http.client.RemoteDisconnected):
        urllib.request.urlopen(broken.url(), timeout=30)
