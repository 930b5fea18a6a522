"""docker, podman, skopeo, buildah and docker-py against a registry that checks passwords."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.registry import Registry, require_registry
from support.requirements import require
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("the clients are those of Linux", allow_module_level=True)

USERNAME, PASSWORD = "ada", "correct horse battery staple"
# base64 of user and password, as docker writes it to its configuration.
ENCODED = "YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU="
FAMILY = ("skopeo", "podman", "buildah")


class Rig(NamedTuple):
    """A home with its clients, and their registry."""

    home: Throwaway
    host: str

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a client."""
        require(shutil.which(words[0]), words[0], "it is not on PATH")
        return self.home.run(*words, stdin=stdin)

    def login(self, program: str) -> subprocess.CompletedProcess[str]:
        """Log in with a client, or fail."""
        flags = () if program == "docker" else ("--tls-verify=false",)
        words = (program, "login", "-u", USERNAME, "--password-stdin", *flags, self.host)
        done = self.run(*words, stdin=PASSWORD)
        assert done.returncode == 0, done.stderr
        return done

    def tags(self) -> subprocess.CompletedProcess[str]:
        """Ask the registry with skopeo for a missing image: only a known user gets that answer."""
        return self.run("skopeo", "list-tags", "--tls-verify=false", f"docker://{self.host}/a/b")

    def helper(self, operation: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the helper itself."""
        return self.home.run("docker-credential-keylease", operation, stdin=stdin)

    def holders(self, needle: str) -> list[str]:
        """Return the files of the home that hold the text."""
        files = (path for path in self.home.home.parent.rglob("*") if path.is_file())
        return sorted(path.name for path in files if needle.encode() in path.read_bytes())

    def events(self) -> list[str]:
        """Return the events of sessions in the audit log, oldest first."""
        return [line["event"] for line in self.home.audit() if line["event"] != "vault.created"]


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home where docker and the podman family are set up, and a registry."""
    require_registry()
    # These tests need no engine, and must not ask an engine of this machine.
    kernel_home.environment["DOCKER_HOST"] = "tcp://127.0.0.1:1"
    for tool in ("docker", "podman"):
        done = kernel_home.run("keylease", "setup", tool)
        assert done.returncode == 0, done.stderr
    with Registry(tmp_path / "registry", USERNAME, PASSWORD) as registry:
        yield Rig(kernel_home, registry.host)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: without keylease docker writes the password, and the search finds it."""
    rig.home.run("keylease", "setup", "docker", "--undo")

    rig.login("docker")

    assert ["config.json"] == rig.holders(ENCODED)


def test_a_login_of_docker_serves_every_client(rig: Rig) -> None:
    """After one login with docker, docker and skopeo are answered from the session."""
    before = rig.tags()
    assert "unauthorized" in before.stderr or "authentication required" in before.stderr

    rig.login("docker")
    manifest = rig.run("docker", "manifest", "inspect", "--insecure", f"{rig.host}/a/b:1")

    assert "no such manifest" in manifest.stderr
    assert "404" in rig.tags().stderr
    assert "session.created" in rig.events()
    assert "session.released" == rig.events()[-1]
    assert [] == rig.holders(PASSWORD) + rig.holders(ENCODED)
    config = json.loads((rig.home.home / ".docker" / "config.json").read_text("utf-8"))
    assert ({}, "keylease") == (config["auths"][rig.host], config["credsStore"])


@pytest.mark.parametrize("program", FAMILY)
def test_the_podman_family_logs_in_and_out(rig: Rig, program: str) -> None:
    """Each client logs in, finds its login again, and can log out twice."""
    rig.login(program)
    found = rig.run(program, "login", "--get-login", rig.host)
    first = rig.run(program, "logout", rig.host)
    again = rig.run(program, "logout", rig.host)
    gone = rig.run(program, "login", "--get-login", rig.host)

    assert (0, f"{USERNAME}\n") == (found.returncode, found.stdout)
    assert (0, 0) == (first.returncode, again.returncode), again.stderr
    assert gone.returncode != 0
    assert f"not logged into {rig.host}" in gone.stderr
    assert [] == rig.holders(PASSWORD) + rig.holders(ENCODED) + rig.holders("auth.json")
    assert "session.ended" in rig.events()


def test_podman_logs_out_everywhere(rig: Rig) -> None:
    """`logout --all` lists the sessions and ends each of them."""
    rig.login("podman")
    rig.login("docker")

    done = rig.run("podman", "logout", "--all")

    assert done.returncode == 0, done.stderr
    assert "{}\n" == rig.helper("list").stdout


def test_a_login_right_after_a_logout_is_kept(rig: Rig) -> None:
    """The same password right after a logout is a new login, not an echo of the old one."""
    rig.login("skopeo")
    rig.tags()
    rig.run("skopeo", "logout", rig.host)
    rig.login("skopeo")

    assert "404" in rig.tags().stderr


def test_an_ended_session_is_a_registry_without_a_login(rig: Rig) -> None:
    """After the end each client says that it is not logged in, and the helper says why."""
    rig.home.environment |= {"KEYLEASE_IDLE_TIMEOUT": "2", "KEYLEASE_CAP": "2"}
    rig.login("skopeo")
    until = time.monotonic() + 30
    while "404" in (skopeo := rig.tags()).stderr:
        assert time.monotonic() < until, "the session does not end"

    assert "authentication required" in skopeo.stderr
    assert f"keylease: error: the session for {rig.host} has ended: " in skopeo.stderr
    assert f"log in again, as with: docker login {rig.host}" in skopeo.stderr
    assert rig.run("skopeo", "login", "--get-login", rig.host).returncode != 0


def test_docker_says_that_it_is_not_logged_in(rig: Rig) -> None:
    """After a logout the registry refuses docker; the helper does not stop it."""
    rig.login("docker")
    rig.run("docker", "logout", rig.host)

    done = rig.run("docker", "manifest", "inspect", "--insecure", f"{rig.host}/a/b:1")

    assert done.returncode != 0
    assert "no basic auth credentials" in done.stderr
    assert "keylease" not in done.stderr


def test_a_keychain_that_cannot_be_reached_is_no_missing_login(rig: Rig) -> None:
    """The client stops and shows the reason, and does not continue without a login."""
    rig.login("skopeo")
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.tags()

    assert done.returncode != 0
    assert "error getting credentials" in done.stderr
    assert "keylease: " in done.stderr


def test_docker_py_is_answered(rig: Rig) -> None:
    """docker-py finds the login, and reading all credentials does not extend their sessions."""
    require(importlib.util.find_spec("docker"), "docker-py", "it is not installed")
    rig.login("docker")
    code = (
        "import json, docker.auth as a\n"
        "config = a.load_config()\n"
        f"found = config.resolve_authconfig({rig.host!r})\n"
        "print(json.dumps([found, config.get_all_credentials()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=rig.home.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert done.returncode == 0, done.stderr
    one, everything = json.loads(done.stdout)
    assert (USERNAME, PASSWORD) == (one["Username"], one["Password"])
    assert PASSWORD == everything[rig.host]["Password"]


def test_the_program_says_who_it_is(rig: Rig) -> None:
    """`version` and a wrong call are answered on stdout, like docker's own helpers."""
    assert rig.helper("version").stdout.startswith("docker-credential-keylease (keylease) ")
    wrong = rig.helper("fetch")
    assert (1, "usage: ") == (wrong.returncode, wrong.stdout[:7])
    assert "keylease: error: unknown operation 'fetch'" in wrong.stderr
