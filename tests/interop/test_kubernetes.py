"""kubectl and the Python client against an API server on loopback that authenticates clients."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.api_server import Answer, ApiServer
from support.clients import find_client
from support.requirements import require
from support.waiting import WAIT_SECONDS
from support.web_server import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.api_server import Asked
    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("the home needs the kernel's keyring", allow_module_level=True)

TOKEN = "correct-horse-battery-staple"
VERSIONS = ("v1", "v1beta1")
STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401}
PYTHON = """
import sys
from kubernetes import client, config
config.load_kube_config()
print(client.VersionApi().get_code().git_version)
"""


class Rig(NamedTuple):
    """A home with a kubeconfig that asks keylease, and its server."""

    home: Throwaway
    url: str
    pair: Path
    """One file with the server's certificate and key, which is also the only accepted client's."""
    seen: list[str]
    """How each client authenticated; empty for one that did not."""

    def login(self, *words: str, stdin: str = "") -> None:
        """Start a session, or fail."""
        words = ("login", "--tool", "kubernetes", self.url, *words)
        done = self.home.run("keylease", *words, stdin=stdin)
        assert done.returncode == 0, done.stderr

    def version(self) -> subprocess.CompletedProcess[str]:
        """Ask with kubectl for the version, which requires the token or the certificate."""
        return self.home.run("kubectl", "get", "--raw", "/version")

    def holders(self) -> list[str]:
        """Return the files of the home that hold the token, plain or in base64."""
        files = (path for path in self.home.home.parent.rglob("*") if path.is_file())
        needles = (TOKEN.encode(), base64.b64encode(TOKEN.encode()))
        return sorted(
            path.name for path in files if any(each in path.read_bytes() for each in needles)
        )

    def proofs(self) -> set[str]:
        """Return how clients authenticated. Some ask for the version without authentication."""
        return set(self.seen) - {""}

    def events(self) -> list[str]:
        """Return the events of sessions, oldest first."""
        found = [line["event"] for line in self.home.audit()]
        return [event for event in found if event.startswith("session.")]


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home whose kubeconfig asks keylease, and an API server."""
    kubectl = find_client("kubectl")
    if shutil.which("kubectl") is None:
        (tmp_path / "bin" / "kubectl").symlink_to(kubectl)
    told = subprocess.run(
        [kubectl, "config", "set-credentials", "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    require("--exec-provide-cluster-info" in told.stdout, "kubectl", "it is too old for setup")
    seen: list[str] = []
    pair = make_certificate(tmp_path / "pair.pem")

    def answer(asked: Asked) -> Answer:
        token = asked.headers["Authorization"] == f"Bearer {TOKEN}"
        known = "token" if token else "certificate" if asked.certificate else ""
        seen.append(known)
        body = {"gitVersion": "v1.99.0"} if known else STATUS
        body |= {} if not known else dict.fromkeys(("major", "minor", "platform"), "1")
        body |= (
            {}
            if not known
            else dict.fromkeys(
                ("gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler"), "x"
            )
        )
        headers = {"Content-Type": "application/json"}
        return Answer(200 if known else 401, json.dumps(body).encode(), headers)

    with ApiServer(answer, pair) as server:
        for words in (
            ("set-cluster", "c", f"--server={server.url}", f"--certificate-authority={pair}"),
            ("set-context", "x", "--cluster=c", "--user=ada"),
            ("use-context", "x"),
        ):
            assert 0 == kernel_home.run("kubectl", "config", *words).returncode
        done = kernel_home.run("keylease", "setup", "kubernetes", "ada")
        assert done.returncode == 0, done.stderr
        yield Rig(kernel_home, server.url, pair, seen)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: a wrong token is refused, and the search finds a token in the kubeconfig."""
    rig.home.run("keylease", "setup", "kubernetes", "ada", "--undo")
    rig.home.run("kubectl", "config", "set-credentials", "ada", "--token=wrong")
    assert rig.version().returncode != 0

    rig.home.run("kubectl", "config", "set-credentials", "ada", f"--token={TOKEN}")

    assert 0 == rig.version().returncode
    assert ["config"] == rig.holders()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_token_is_kept_used_and_ended(rig: Rig, version: str) -> None:
    """Without a session kubectl shows what to type; with one each command works until a logout."""
    api = f"--exec-api-version=client.authentication.k8s.io/{version}"
    rig.home.run("kubectl", "config", "set-credentials", "ada", api)
    before = rig.version()
    assert "keylease-kubernetes failed with exit code 1" in before.stderr
    assert f"start one with: keylease login --tool kubernetes {rig.url}\n" in before.stderr

    rig.login("--password-stdin", stdin=TOKEN)
    for _ in range(2):
        done = rig.version()
        assert "v1.99.0" == json.loads(done.stdout)["gitVersion"], done.stderr
    assert 1 == rig.events().count("session.created")
    assert 2 <= rig.events().count("session.released")
    assert {"token"} == rig.proofs()
    assert [] == rig.holders()

    assert 0 == rig.home.run("keylease", "logout", "--tool", "kubernetes", rig.url).returncode
    after = rig.version()
    assert "keylease: error: there is no session for " in after.stderr


def test_a_certificate_is_shown_to_the_server(rig: Rig) -> None:
    """Once the session exists, no file holds the key, and it authenticates the client."""
    text = rig.pair.read_text("utf-8")
    key, marker, certificate = text.partition("-----BEGIN CERTIFICATE-----")
    words = []
    for name, held in (("key", key), ("certificate", marker + certificate)):
        path = rig.home.home / name
        path.write_text(held, encoding="utf-8")
        words += ["--field-file", name, str(path)]
    rig.login(*words)
    for name in ("key", "certificate"):
        (rig.home.home / name).unlink()

    done = rig.version()

    assert 0 == done.returncode, done.stderr
    assert {"certificate"} == rig.proofs()


def test_the_python_client_is_answered(rig: Rig) -> None:
    """The Python client sets the same variable and reads the same answer."""
    require(importlib.util.find_spec("kubernetes"), "kubernetes", "it is not installed")
    rig.login("--password-stdin", stdin=TOKEN)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PYTHON],
        env=rig.home.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert "v1.99.0\n" == done.stdout, done.stderr
    assert {"token"} == rig.proofs()


def test_a_token_is_not_for_another_server(rig: Rig) -> None:
    """A kubeconfig with a changed server gets no token for it."""
    rig.login("--password-stdin", stdin=TOKEN)
    other = rig.url.replace("127.0.0.1", "localhost")
    rig.home.run("kubectl", "config", "set-cluster", "c", f"--server={other}")

    done = rig.version()

    assert f"there is no session for {other}" in done.stderr
    assert set() == rig.proofs()


def test_an_ended_session_explains_itself(rig: Rig) -> None:
    """After the end kubectl fails in its own words, and the line above gives the reason."""
    rig.home.environment |= {"KEYLEASE_IDLE_TIMEOUT": "2", "KEYLEASE_CAP": "2"}
    rig.login("--password-stdin", stdin=TOKEN)
    until = time.monotonic() + 30
    while (done := rig.version()).returncode == 0:
        assert time.monotonic() < until, "the session does not end"

    assert "has ended: " in done.stderr
    assert "keylease-kubernetes failed with exit code 1" in done.stderr
