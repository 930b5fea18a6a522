"""The AWS CLI and botocore against an STS on loopback that checks signatures."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.api_server import Answer, ApiServer
from support.requirements import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.api_server import Asked
    from support.throwaway import Throwaway

if sys.platform != "linux":
    pytest.skip("the home needs the kernel's keyring", allow_module_level=True)

KEY_ID, SECRET, SESSION_TOKEN = "AKIAEXAMPLE", "correct/horse+battery", "FwoG/staple=="
IDENTITY = """\
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/ada</Arn><UserId>AIDA</UserId>
<Account>123456789012</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>
"""
REFUSED = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>SignatureDoesNotMatch</Code><Message>no</Message></Error><RequestId>1</RequestId>
</ErrorResponse>
"""
# Sign ten times, as a long-running program does, and print how often it asked.
MANY = """
import sys, botocore.credentials as c, botocore.session
asked = []
load = c.ProcessProvider._retrieve_credentials_using
def counted(self, command):
    asked.append(command)
    return load(self, command)
c.ProcessProvider._retrieve_credentials_using = counted
client = botocore.session.Session(profile="prod").create_client(
    "sts", region_name="us-east-1", endpoint_url=sys.argv[1])
arns = {client.get_caller_identity()["Arn"] for _ in range(10)}
print(len(asked), *arns)
"""


def is_signed(asked: Asked, secret: str) -> bool:
    """Return whether a request is signed with the secret: Signature Version 4, as AWS writes it."""
    scheme, _, rest = (asked.headers["Authorization"] or "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return False
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    _, _, scope = parts["Credential"].partition("/")
    names = parts["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{' '.join(asked.headers[name].split())}\n" for name in names)
    body = hashlib.sha256(asked.body).hexdigest()
    canonical = "\n".join((asked.method, asked.path, "", headers, ";".join(names), body))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((scheme, asked.headers["X-Amz-Date"], scope, digest))
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.compare_digest(
        hmac.new(key, text.encode(), "sha256").hexdigest(), parts["Signature"]
    )


class Rig(NamedTuple):
    """A home with a profile that asks keylease, and the STS that accepts its key."""

    home: Throwaway
    url: str
    tokens: list[str | None]
    """The session tokens of the correctly signed requests."""

    def login(self, *words: str) -> None:
        """Start a session, or fail."""
        done = self.home.run(
            *("keylease", "login", "--tool", "aws", "prod", "--username", KEY_ID, *words),
            "--password-stdin",
            stdin=SECRET,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the Python that has the client."""
        return subprocess.run(
            [sys.executable, *words],
            env=self.home.environment,
            cwd=self.home.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def identity(self) -> subprocess.CompletedProcess[str]:
        """Ask with the AWS CLI for the caller's identity."""
        require(importlib.util.find_spec("awscli"), "awscli", "it is not installed")
        return self.run(
            *("-m", "awscli", "sts", "get-caller-identity", "--profile", "prod"),
            *("--region", "us-east-1", "--endpoint-url", self.url, "--output", "json"),
        )

    def holders(self) -> list[str]:
        """Return the files of the home that hold the secret or the token."""
        files = (path for path in self.home.home.parent.rglob("*") if path.is_file())
        needles = (SECRET.encode(), SESSION_TOKEN.encode())
        return sorted(
            path.name for path in files if any(each in path.read_bytes() for each in needles)
        )

    def events(self) -> list[str]:
        """Return the events of sessions, oldest first."""
        found = [line["event"] for line in self.home.audit()]
        return [event for event in found if event.startswith("session.")]


@pytest.fixture
def rig(kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home whose profile `prod` asks keylease, and an STS."""
    tokens: list[str | None] = []

    def answer(asked: Asked) -> Answer:
        if not is_signed(asked, SECRET):
            return Answer(403, REFUSED.encode(), {"Content-Type": "text/xml"})
        tokens.append(asked.headers["X-Amz-Security-Token"])
        return Answer(200, IDENTITY.encode(), {"Content-Type": "text/xml"})

    kernel_home.environment["AWS_EC2_METADATA_DISABLED"] = "true"
    done = kernel_home.run("keylease", "setup", "aws", "prod")
    assert done.returncode == 0, done.stderr
    with ApiServer(answer) as server:
        yield Rig(kernel_home, server.url, tokens)


def test_plaintext_is_found_where_it_is(rig: Rig) -> None:
    """The control: a wrong key is refused, and the search finds a key in the credentials file."""
    path = rig.home.home / ".aws" / "credentials"
    text = f"[prod]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = "
    path.write_text(f"{text}wrong\n", encoding="utf-8")
    assert "SignatureDoesNotMatch" in rig.identity().stderr

    path.write_text(f"{text}{SECRET}\n", encoding="utf-8")

    assert 0 == rig.identity().returncode
    assert ["credentials"] == rig.holders()


def test_a_key_is_kept_used_and_ended(rig: Rig) -> None:
    """Without a session the client shows what to type; with one it signs until a logout."""
    before = rig.identity()
    assert "Error when retrieving credentials from custom-process" in before.stderr
    assert "start one with: keylease login --tool aws prod" in before.stderr

    rig.login()
    for _ in range(2):
        done = rig.identity()
        assert "arn:aws:iam::123456789012:user/ada" == json.loads(done.stdout)["Arn"], done.stderr
    assert ["session.created", "session.released", "session.released"] == rig.events()[1:]
    assert [] == rig.holders()

    assert 0 == rig.home.run("keylease", "logout", "--tool", "aws", "prod").returncode
    after = rig.identity()
    assert "keylease: error: there is no session for " in after.stderr
    assert SECRET not in before.stderr + after.stderr


def test_a_session_token_comes_with_the_key(rig: Rig, tmp_path: Path) -> None:
    """A temporary key works only with its session token."""
    path = tmp_path / "token"
    path.write_text(f"{SESSION_TOKEN}\n", encoding="utf-8")
    rig.login("--field-file", "session_token", str(path))
    path.unlink()

    assert 0 == rig.identity().returncode
    assert [SESSION_TOKEN] == rig.tokens
    assert [] == rig.holders()


def test_a_program_that_lives_for_a_while_asks_once(rig: Rig) -> None:
    """The expiry is late enough that botocore does not ask again for each request."""
    require(importlib.util.find_spec("botocore"), "botocore", "it is not installed")
    rig.login()

    done = rig.run("-c", MANY, rig.url)

    assert "1 arn:aws:iam::123456789012:user/ada\n" == done.stdout, done.stderr


def test_an_ended_session_explains_itself(rig: Rig) -> None:
    """After the session's end the client's own error contains the reason and what to type."""
    rig.home.environment |= {"KEYLEASE_IDLE_TIMEOUT": "2", "KEYLEASE_CAP": "2"}
    rig.login()
    until = time.monotonic() + 30
    # A key in the last second of its session ends before the client reads it.
    while (done := rig.identity()).returncode == 0 or "still expired" in done.stderr:
        assert time.monotonic() < until, "the session does not end"

    assert "Error when retrieving credentials from custom-process" in done.stderr
    assert "the session for aws://prod has ended: " in done.stderr
    assert "start one with: keylease login --tool aws prod" in done.stderr


def test_a_keychain_that_cannot_be_reached_is_told_as_it_is(rig: Rig) -> None:
    """The client stops and shows the reason; the message does not suggest a new login."""
    rig.login()
    rig.home.environment["KEYLEASE_KEYCHAIN"] = "secret-service"

    done = rig.identity()

    assert done.returncode != 0
    assert "keylease: error: " in done.stderr
    assert "start one with" not in done.stderr
