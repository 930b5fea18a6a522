"""Terraform against a host with TLS that checks tokens: login, a private module, logout."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, set_up, wait_until
from support.web_server import Answer, Asked, WebServer, make_certificate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("SSL_CERT_FILE is what Terraform reads on Linux", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal

TOKEN = "atlasv1-correct-horse-battery"


def told(what: object) -> Answer:
    """Return an answer in JSON."""
    return Answer(HTTPStatus.OK, body=json.dumps(what).encode())


def archive() -> bytes:
    """Return the module, which has one file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("main.tf", 'output "found" {\n  value = true\n}\n')
    return packed.getvalue()


# Terraform fetches the module's archive without a token.
OPEN = {
    "/.well-known/terraform.json": told({"modules.v1": "/modules/", "tfe.v2": "/api/v2/"}),
    "/archive.zip": Answer(HTTPStatus.OK, body=archive(), kind="application/zip"),
}
PRIVATE = {
    "/api/v2/account/details": told(
        {"data": {"id": "1", "type": "users", "attributes": {"username": "ada"}}}
    ),
    "/modules/team/secret/none/versions": told({"modules": [{"versions": [{"version": "1.0.0"}]}]}),
    "/modules/team/secret/none/1.0.0/download": Answer(
        HTTPStatus.NO_CONTENT, headers=(("X-Terraform-Get", "/archive.zip"),)
    ),
}


def host(asked: Asked) -> Answer:
    """Serve a private host of modules, for one token."""
    path = asked.path.partition("?")[0]
    if path in OPEN:
        return OPEN[path]
    if asked.authorization != f"Bearer {TOKEN}":
        return Answer(HTTPStatus.UNAUTHORIZED)
    return PRIVATE.get(path, Answer(HTTPStatus.NOT_FOUND))


class Rig(NamedTuple):
    """A home where Terraform asks keylease, and their host."""

    home: Throwaway
    server: WebServer
    program: str
    terminal: PseudoTerminal

    def login(self) -> tuple[int, str, str]:
        """Log in as a user who pastes a token."""
        words = [self.program, f"-chdir={self.home.home}", "login", self.server.host]
        with Path(self.terminal.path).open("rb", buffering=0) as keyboard:
            process = self.terminal.start(words, self.home.environment, keyboard.fileno())
        self.terminal.type(b"yes\n")
        self.terminal.type(TOKEN.encode() + b"\n")
        return self.terminal.finish(process)

    def get(self) -> subprocess.CompletedProcess[str]:
        """Ask for the module."""
        return self.home.run(self.program, "get", "-no-color", "-update")

    def events(self) -> list[str]:
        """Return the events in the audit log, oldest first."""
        return [line["event"] for line in self.home.audit()]


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home with Terraform, set up, and a host."""
    program = find_client("terraform")
    certificate = make_certificate(tmp_path / "certificate.pem")
    set_up(kernel_home, "terraform")
    kernel_home.environment |= {
        "SSL_CERT_FILE": str(certificate),
        "CHECKPOINT_DISABLE": "1",
        "BROWSER": "true",
    }
    with WebServer(host, certificate) as server, PseudoTerminal() as terminal:
        source = f'module "x" {{\n  source  = "{server.host}/team/secret/none"\n'
        main = kernel_home.home / "main.tf"
        main.write_text(source + '  version = "1.0.0"\n}\n', "utf-8")
        yield Rig(kernel_home, server, program, terminal)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: without a helper Terraform writes the token to a file without a word."""
    (rig.home.home / ".terraform.d" / "plugins" / "terraform-credentials-keylease").unlink()

    code, _, complaints = rig.login()

    assert code == 0, complaints
    assert ["credentials.tfrc.json"] == holders(rig.home, TOKEN)


def test_a_login_is_kept_and_found_again(rig: Rig) -> None:
    """Terraform is refused before the login and answered after it, and no file has the token."""
    before = rig.get()
    code, said, complaints = rig.login()
    first, second = rig.get(), rig.get()

    assert "401 Unauthorized" in before.stderr
    assert code == 0, complaints
    assert '"keylease" credentials helper' in said
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert "session.created" in rig.events()
    assert "session.released" == rig.events()[-1]
    assert [] == holders(rig.home, TOKEN)


def test_an_ended_session_is_a_host_that_refuses(rig: Rig) -> None:
    """After the end Terraform shows what the host tells a client without a token."""
    rig.home.environment |= ENDS_SOON
    code, _, complaints = rig.login()
    assert code == 0, complaints

    # Only a question finds the end, and a refusal for another reason is a 401, too.
    wait_until(lambda: rig.get() and "session.ended" in rig.events())

    assert "401 Unauthorized" in rig.get().stderr


def test_a_logout_ends_the_session_and_may_come_twice(rig: Rig) -> None:
    """`terraform logout` ends the session, and succeeds where there is none."""
    rig.login()
    first = rig.home.run(rig.program, "logout", rig.server.host)
    second = rig.home.run(rig.program, "logout", rig.server.host)

    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert "session.ended" in rig.events()
    assert "401 Unauthorized" in rig.get().stderr


def test_a_keychain_that_cannot_be_reached_is_told(rig: Rig) -> None:
    """Terraform shows why a keychain cannot be reached."""
    rig.login()
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.home.run(rig.program, "logout", "-no-color", rig.server.host)

    assert done.returncode != 0
    assert "keylease: error: " in done.stderr
