"""Docker's protocol, rule by rule. tests/transcripts has whole conversations."""

import json

import pytest

from keylease import __version__
from keylease.errors import (
    AuditError,
    ConfigError,
    KeychainUnavailableError,
    PolicyError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import Credential, Listing, Moment, Refusal, Reply, Request, Session, Target
from keylease.protocols import docker
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

HUB = "https://index.docker.io/v1/"
ASKED = Request("get", docker.target("registry.example"))
MISS = b"credentials not found in native keychain\n"


def parse(action, message=b""):
    """Parse a client's message."""
    return docker.parse(Call((action,), {}, bytearray(message)))


def session(url="registry.example", username="bob"):
    """Return a session as the rules make it."""
    now = Moment(1, 1, "boot")
    return Session(
        "0" * 32, docker.target(url), username, None, None, 1, now, now, None, 900, 28800
    )


def answer(username="bob", secret=b"hunter2", url="registry.example"):
    """Return a client's answer for a session."""
    held = session(url, username)
    reply = Reply(held, Credential(username, Secret(secret)), 2_000_000_000)
    return b"".join(docker.render(ASKED, reply))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("registry.example", ("https", "registry.example", "")),
        ("registry.example:5000", ("https", "registry.example:5000", "")),
        ("https://registry.example/", ("https", "registry.example", "")),
        ("http://localhost:5000", ("http", "localhost:5000", "")),
        ("registry.example/team/x/", ("https", "registry.example", "team/x")),
        ("[::1]:5000", ("https", "[::1]:5000", "")),
        ("docker.io", ("https", "index.docker.io", "v1/")),
        ("https://docker.io", ("https", "index.docker.io", "v1/")),
        ("index.docker.io/v1", ("https", "index.docker.io", "v1/")),
        ("registry-1.docker.io/v2/", ("https", "index.docker.io", "v1/")),
        (HUB, ("https", "index.docker.io", "v1/")),
        ("http://docker.io", ("http", "docker.io", "")),
        (HUB + "access-token", ("https", "index.docker.io", "v1/access-token")),
        ("docker.io.evil.example", ("https", "docker.io.evil.example", "")),
    ],
)
def test_a_registry_has_one_name(name, expected):
    """All names of one registry find one session, and no other name does."""
    assert Target("docker", *expected) == docker.target(name)


@pytest.mark.parametrize(
    "name", ["", "/", "https://", "a b", "a\nb", "a\x7f", "u@h", "https://u:p@h", "ftp://h"]
)
def test_what_is_no_registry_is_refused_by_its_person(name):
    """A name with a user, a blank or another scheme is refused and not repeated."""
    with pytest.raises(UsageError) as caught:
        docker.target(name)

    assert caught.value.hint
    assert "u:p" not in str(caught.value)


def test_no_path_is_answered_by_no_path():
    """A question for a registry is never answered with the session of a path below it."""
    assert "" == parse("get", b"registry.example").target.path


def test_a_question_may_end_in_a_line_end():
    """A question may end with a line end: Go's clients send none, a person types one."""
    assert parse("get", b"registry.example") == parse("get", b" registry.example\r\n")


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"registry\0.example",
        b"registry.example\nevil",
        # Python strips these as blanks at the end, but no client means them as blanks.
        b"registry.example\x1c",
        b"registry.example\xc2\x85",
        b"registry.example\xc2\xa0",
    ],
)
def test_a_question_that_is_no_name_is_refused(message):
    """A name that could be read as two is refused."""
    with pytest.raises(RequestError):
        parse("get", message)


def test_a_get_says_that_its_peer_asks_for_lists():
    """The protocol says that docker reads lists, so the rules can tell that from a use."""
    assert docker.READS_LISTS


def test_a_store_takes_the_place_of_every_other():
    """docker keeps one login per registry, so a store replaces every other session of it."""
    request = parse("store", b'{"ServerURL":"r.example","Username":"bob","Secret":"s","x":[1]}')

    assert request.replace_other_users
    assert ("store", docker.target("r.example"), "bob") == request[:3]
    assert request.credential.secret.matches(Secret(b"s"))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b'{"ServerURL":"r.example","ServerURL":"evil","Username":"bob","Secret":"s"}',
        b'{"ServerURL":"r.example","SERVERURL":"evil","Username":"bob","Secret":"s"}',
        b'{"ServerURL":["r.example"],"Username":"bob","Secret":"s"}',
        b'{"ServerURL":"r.example","Username":"bob","Secret":null}',
        b'{"ServerURL":"r.example","Username":"bob","Secret":1}',
        b'{"ServerURL":"r.example","Username":"b\\u0000b","Secret":"s"}',
        b'{"ServerURL":"r.example","Username":"bob","Secret":"\\ud800"}',
        b'{"ServerURL":"r.example","Username":"bob","Secret":"s"}{}',
        b'{"a":' * 100,
    ],
)
def test_a_store_that_could_mean_two_things_is_refused(message):
    """A message that another reader could understand differently stores nothing."""
    with pytest.raises(RequestError):
        parse("store", message)


@pytest.mark.parametrize("action", ["get", "store", "erase", "list"])
def test_a_message_that_is_too_long_is_refused(action):
    """A message that is too long is refused, so memory is bounded."""
    with pytest.raises(RequestError, match="longer than"):
        parse(action, b" " * (docker.MAX_REQUEST + 1))


def test_the_message_is_read_to_its_end():
    """The helper reads to the end of the message; for `version` it does not read at all."""
    assert not docker.complete(Call(("get",), {}, bytearray(b"registry.example\n\n")))
    assert docker.complete(Call(("version",), {}, bytearray()))
    assert docker.complete(Call((), {}, bytearray()))


def test_a_credential_is_said_as_docker_reads_it():
    """Any text survives the round trip, and Docker Hub keeps its URL."""
    said = json.loads(answer("<token>", 'a"b\\ä\n'.encode(), "docker.io"))

    assert {"ServerURL": HUB, "Username": "<token>", "Secret": 'a"b\\ä\n'} == said


@pytest.mark.parametrize(("username", "secret"), [(None, b"s"), ("", b"s"), ("bob", b"\xff")])
def test_what_docker_cannot_be_told_is_refused(username, secret):
    """A session without a user, or with a secret that is not text, is refused."""
    with pytest.raises(RequestError):
        answer(username, secret)


def test_the_list_names_the_session_that_would_answer():
    """The list has the newest session of each registry, by docker's name for it."""
    held = Listing((session(username="old"), session("docker.io"), session(username="new")))

    said = b"".join(docker.render(Request("list", namespace="docker"), held))

    assert {"registry.example": "new", HUB: "bob"} == json.loads(said)


def test_the_version_is_told():
    """`version` prints the helper's name and version."""
    said = b"".join(docker.render(parse("version"), None))

    assert f"docker-credential-keylease (keylease) {__version__}\n".encode() == said


@pytest.mark.parametrize(
    "error",
    [
        SessionEndedError("the session for https://registry.example/ has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
        PolicyError("the policy has revoked every session"),
    ],
)
def test_an_end_is_a_miss_to_the_client_and_explains_itself_to_its_user(error):
    """The client continues without a login; the terminal shows why the session ended."""
    refused = docker.refuse(error, ASKED)

    assert (MISS, 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.startswith("keylease: error: ")
    assert "\nkeylease: hint: " in refused.message


def test_an_end_names_the_registry_as_docker_does():
    """The suggested command can be typed as it is."""
    message = docker.refuse(SessionEndedError("ended", "idle"), ASKED).message
    hub = docker.refuse(SessionEndedError("ended", "cap"), parse("get", b"docker.io")).message

    assert (
        "keylease: error: the session for registry.example has ended: idle\n"
        "keylease: hint: log in again, as with: docker login registry.example\n"
    ) == message
    assert "the session for Docker Hub has ended: cap\n" in hub
    assert hub.endswith("docker login\n")


def test_a_plain_miss_has_nothing_to_explain():
    """A registry without a login gives the client's plain miss and no message."""
    error = SessionNotFoundError("there is no session")

    assert (MISS, "") == docker.refuse(error, ASKED)[:2]
    assert Refusal(b"", "", 0) == docker.refuse(error, parse("erase", b"registry.example"))
    assert (b"{}\n", "", 0) == docker.refuse(error, parse("list"))[:3]


@pytest.mark.parametrize(
    "error",
    [
        KeychainUnavailableError("the keychain is locked"),
        AuditError("the disk is full"),
        ConfigError("the configuration is wrong"),
    ],
)
def test_what_is_no_miss_is_no_miss_to_the_client(error):
    """A locked keychain is an error, not a missing login, and the client shows the reason."""
    refused = docker.refuse(error, ASKED)

    assert refused.reply.startswith(f"keylease: {error} (".encode())
    assert (1, 1) == (refused.exit_code, refused.reply.count(b"\n"))


def test_a_store_into_a_revoked_vault_fails():
    """A login that is not stored fails, and both docker and the terminal get the remedy."""
    request = parse("store", b'{"ServerURL":"r.example","Username":"bob","Secret":"s"}')
    stored = docker.refuse(VaultRevokedError("the vault key was revoked"), request)
    asked = docker.refuse(VaultRevokedError("the vault key was revoked"), ASKED)

    assert 1 == stored.exit_code
    assert (
        b"keylease: the vault key was revoked (run: keylease init; then log in again)\n"
        == stored.reply
    )
    assert "keylease: hint: run: keylease init; then log in again\n" in asked.message


def test_a_wrong_command_line_is_told_how_it_should_be():
    """The usage goes to stdout, like that of docker's own helpers."""
    refused = docker.refuse(UsageError("unknown operation 'x'"))

    assert (f"{docker.USAGE}\n".encode(), 1) == (refused.reply, refused.exit_code)
    assert "keylease: error: unknown operation 'x'\n" == refused.message
