"""Real gits and keylease read each other's messages with the same meaning.

Each message goes through `git credential` with a helper that records what git tells it.
`KEYLEASE_FUZZ_EXAMPLES` sets the number of messages for each git.
"""

import os
import subprocess
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.fuzz import EXAMPLES
from support.git_messages import NAMES, any_message, git_reads, messages
from support.gits import GITS, MISSING
from support.waiting import WAIT_SECONDS

from keylease.errors import RequestError
from keylease.model import Credential, Moment, Reply, Request, Session, Target
from keylease.protocols import git as protocol
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

TOLD = "told"
ANSWER = "answer"
WITH_CAPABILITIES = (2, 46)
WHERE = b"protocol=https\nhost=example.com\n"
# One process for each message: limit their number, and do not shrink, which would take a thousand
# more.
MANY = settings(
    max_examples=min(EXAMPLES, 3000) * 3 // 5,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

pytestmark = pytest.mark.skipif(not GITS, reason="; ".join(MISSING) or "no git")


@pytest.fixture(name="fill", params=GITS, ids=str)
def _fill(request, tmp_path):
    """Return a function that runs `git credential` with a helper of one shell command."""
    real = request.param

    def fill(message, helper, operation="fill"):
        options = {
            "credential.helper": f"!f() {{ {helper}; }}; f",
            "credential.useHttpPath": "true",
            # git refuses carriage returns since 2.48. How it read them before is the harder test.
            "credential.protectProtocol": "false",
        }
        words = [real.path]
        for name, value in options.items():
            words += ["-c", f"{name}={value}"]
        return subprocess.run(
            [*words, "credential", operation],
            input=message,
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | real.environment | {"HOME": str(tmp_path)},
            timeout=WAIT_SECONDS,
        )

    fill.version = real.version
    fill.directory = tmp_path
    return fill


def attributes(lines):
    """Return the names and the password in git's output, which is always well-formed."""
    pairs = (line.split(b"=", 1) for line in lines.split(b"\n") if line)
    return {key: value for key, value in pairs if key in NAMES}


def understood_by(fill, message):
    """Return what a real git understood, or None if it gave up."""
    told = fill.directory / TOLD
    told.unlink(missing_ok=True)
    fill(message, f"cat >{TOLD}; echo quit=1")
    if not told.exists():
        # git passes a message with user name and password only to helpers that store.
        fill(message, f"cat >{TOLD}", "approve")
    return attributes(told.read_bytes()) if told.exists() else None


def test_real_git_and_keylease_mean_the_same_host(fill):
    """keylease understands every message as a real git does, or refuses it."""
    seen = {"same": 0, "refused": 0}

    @MANY
    @given(st.one_of(messages(), st.integers(0, 2**32).map(Random).map(any_message)))
    def check(message):
        understood = understood_by(fill, message)
        # The long fuzz run compares with the model, so the model must agree with git.
        assert understood == git_reads(message, modern=fill.version >= WITH_CAPABILITIES)
        try:
            request = protocol.parse(Call(("get",), {}, bytearray(message)))
        except RequestError:
            seen["refused"] += understood is not None
            return
        assert understood is not None, "git would not even have asked"
        assert understood[b"host"] == request.target.host.encode("utf-8", "surrogateescape")
        assert understood[b"protocol"] == request.target.protocol.encode("utf-8", "surrogateescape")
        seen["same"] += 1

    check()

    assert seen["same"]
    assert seen["refused"]


def a_reply(username, secret, authtype=None, token=None):
    """Return a reply that expires in the year 2033."""
    now = Moment(1, 1, "boot")
    target = Target("web", "https", "example.com")
    session = Session("5" * 32, target, username, authtype, None, 1, now, now, None, 900, 28800)
    fields = (("oauth_refresh_token", Secret(token)),) if token else ()
    credential = Credential(username, Secret(secret), authtype, None, fields)
    return Reply(session, credential, 2_000_000_000)


def told_by(fill, reply, announced=()):
    """Return the credential that a real git has after keylease answered it."""
    asked = b"".join(b"capability[]=%s\n" % name.encode() for name in announced) + WHERE
    request = protocol.parse(Call(("get",), {}, bytearray(asked)))
    (fill.directory / ANSWER).write_bytes(b"".join(protocol.render(request, reply)))
    done = fill(asked, f"cat >/dev/null; cat {ANSWER}")
    assert 0 == done.returncode, done.stderr
    assert b"" == done.stderr
    return done.stdout


# git strips a CR before LF as part of the line end, and keylease refuses to send one.
WORDS = st.binary(max_size=30).map(lambda value: value.translate(None, b"\0\r\n"))


def test_real_git_reads_the_answer_as_it_was_meant(fill):
    """User names and passwords of any bytes reach git exactly as they were stored."""

    @settings(MANY, max_examples=max(1, MANY.max_examples // 3))
    @given(WORDS, WORDS)
    def check(username, secret):
        reply = a_reply(username.decode("utf-8", "surrogateescape"), secret)

        expected = WHERE + b"username=" + username + b"\npassword=" + secret + b"\n"

        assert expected == told_by(fill, reply)

    check()


@pytest.mark.parametrize("length", [1023, 4096, 65_000, 65_535 - len("password=\n")])
def test_real_git_reads_a_long_password_whole(fill, length):
    """A password of the maximum line length reaches git whole."""
    secret = b"x" * length

    assert b"\npassword=" + secret + b"\n" in told_by(fill, a_reply("u", secret))


def test_a_modern_git_understands_everything_that_it_announced(fill):
    """Expiry, refresh token, ephemeral and our state reach a git that supports them."""
    if fill.version < WITH_CAPABILITIES:
        pytest.skip("this git knows no capabilities: they came with 2.46")

    told = told_by(fill, a_reply("u", b"p", token=b"r"), ("authtype", "state"))

    assert {
        b"capability[]=authtype",
        b"capability[]=state",
        b"ephemeral=1",
        b"username=u",
        b"password=p",
        b"password_expiry_utc=2000000000",
        b"oauth_refresh_token=r",
        b"state[]=keylease:" + b"5" * 32,
        *WHERE.splitlines(),
    } == set(told.splitlines())


def test_a_modern_git_understands_an_authorization_header(fill):
    """A bearer token reaches git as a token, not as a password."""
    if fill.version < WITH_CAPABILITIES:
        pytest.skip("this git knows no capabilities: they came with 2.46")

    told = told_by(fill, a_reply(None, b"token", "Bearer"), ("authtype",))

    assert {
        b"capability[]=authtype",
        b"authtype=Bearer",
        b"credential=token",
        b"ephemeral=1",
        b"password_expiry_utc=2000000000",
        *WHERE.splitlines(),
    } == set(told.splitlines())


def test_what_a_modern_git_sends_back_is_recognised_as_the_echo(fill):
    """The store after a get carries the id of the session that answered."""
    if fill.version < WITH_CAPABILITIES:
        pytest.skip("this git knows no states: they came with 2.46")
    told = told_by(fill, a_reply("u", b"p"), ("authtype", "state"))

    request = protocol.parse(Call(("store",), {}, bytearray(told)))

    assert ("5" * 32,) == request.echoes
    assert request.ephemeral
    assert b"p" == bytes(request.credential.secret.reveal())
    assert Request("store", Target("web", "https", "example.com"), "u") == request._replace(
        credential=None, echoes=(), ephemeral=False, capabilities=frozenset()
    )
