"""ExecCredential, rule by rule."""

import json

import pytest

from keylease.errors import (
    KeychainUnavailableError,
    RequestError,
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import NANOSECONDS, Credential, Moment, Reply, Session, Target
from keylease.protocols import kubernetes
from keylease.protocols.base import Call
from keylease.secrets import jsontext
from keylease.secrets.memory import allocate
from keylease.secrets.secret import Secret

START = 1_700_000_000  # 2023-11-14T22:13:20Z
SERVER = "https://cluster.example:6443"
GROUP = "client.authentication.k8s.io/"


def parse(*arguments, version="v1", server=SERVER, **info):
    """Parse the question of a client that sets the variable."""
    spec = {"interactive": True} | ({"cluster": {"server": server}} if server else {})
    info = {"apiVersion": GROUP + version, "kind": "ExecCredential", "spec": spec} | info
    return kubernetes.parse(
        Call(arguments, {"KUBERNETES_EXEC_INFO": json.dumps(info)}, bytearray())
    )


def answer(request, secret=b"token", **fields):
    """Return a client's answer for a session that was just used."""
    now = Moment(START * NANOSECONDS, 1, "boot")
    held = Session("0" * 32, request.target, None, None, None, 1, now, now, now, 900, 28800)
    extra = tuple((name, Secret(value)) for name, value in fields.items())
    reply = Reply(held, Credential(None, Secret(secret), None, None, extra), START + 900)
    return json.loads(b"".join(kubernetes.render(request, reply)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SERVER, ("https", "cluster.example:6443", "")),
        (SERVER + "/", ("https", "cluster.example:6443", "")),
        ("HTTPS://Cluster.example:443", ("https", "cluster.example", "")),
        ("http://localhost:8080", ("http", "localhost:8080", "")),
        # A letter beyond ASCII is a different letter: str.lower() makes a k of the Kelvin sign.
        ("https://\u212aube.example", ("https", "\u212aube.example", "")),
        ("https://[::1]:6443", ("https", "[::1]:6443", "")),
        (
            "https://rancher.example/k8s/clusters/C-1/",
            ("https", "rancher.example", "k8s/clusters/C-1"),
        ),
    ],
)
def test_a_server_has_one_name(name, expected):
    """The kubeconfig, a person and a client name one server by the same target."""
    target = Target("kubernetes", *expected)

    assert target == kubernetes.target(name)
    assert target == parse(server=name).target
    assert target == parse(name, server=None).target
    assert target == kubernetes.target(target.url)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cluster.example",
        "https://",
        "https:///x",
        "https://u:p@h",
        "https://h?x",
        "https://h#x",
        "ftp://h",
        "https://h/a b",
        "https://h\n",
        "https://h\u2028",
        "https://h\\@evil.example",
    ],
)
def test_what_is_no_server_is_refused(name):
    """A name that could mean two servers is refused and not repeated."""
    with pytest.raises(UsageError) as caught:
        kubernetes.target(name)
    with pytest.raises(RequestError):
        parse(server=name or "x")

    assert "u:p" not in str(caught.value)


def test_a_client_that_sets_no_variable_is_answered_for_its_argument():
    """Without the variable the argument names the server, and the newest version is spoken."""
    request = kubernetes.parse(Call((SERVER,), {}, bytearray()))

    assert f"{GROUP}v1" == answer(request)["apiVersion"]


def test_stdin_is_left_alone():
    """The helper does not read stdin, the terminal of kubectl's user."""
    assert kubernetes.complete(Call((), {}, bytearray()))


def test_a_server_in_the_argument_must_be_the_one_that_is_asked_for():
    """A token goes only to the server it was stored for, however a kubeconfig mixes servers."""
    assert parse(SERVER + "/").target == kubernetes.target(SERVER)

    with pytest.raises(RequestError, match="another server"):
        parse("https://cluster.example:6444")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_token_is_said_in_the_version_that_was_asked_for(version):
    """The answer has the client's version, and its expiry makes the client ask again in time."""
    assert {
        "apiVersion": GROUP + version,
        "kind": "ExecCredential",
        "status": {"token": "token", "expirationTimestamp": "2023-11-14T22:20:50Z"},
    } == answer(parse(version=version))


def test_a_certificate_is_said_with_its_key():
    """A certificate and its key, texts of several lines, come back unchanged."""
    status = answer(parse(), b"key\n", certificate=b"certificate\n")["status"]

    assert ("certificate\n", "key\n") == (
        status["clientCertificateData"],
        status["clientKeyData"],
    )
    assert "token" not in status


def test_a_token_that_is_no_text_is_refused():
    """A token that is not UTF-8 is refused, because JSON cannot express it."""
    with pytest.raises(RequestError):
        answer(parse(), b"\xff")


def test_a_secret_beside_a_field_that_is_no_text_is_wiped(monkeypatch):
    """If a field cannot be encoded, the half-written answer with the secret is wiped."""
    rooms = []

    def spy(size):
        rooms.append(allocate(size))
        return rooms[-1]

    monkeypatch.setattr(jsontext, "allocate", spy)

    with pytest.raises(RequestError):
        answer(parse(), b"hunter2", certificate=b"\xff")

    assert rooms, "the control: something was written"
    assert [bytes(len(room)) for room in rooms] == rooms


@pytest.mark.parametrize(
    "info",
    [
        "{",
        "[]",
        '{"apiVersion":"client.authentication.k8s.io/v1alpha1"}',
        '{"apiVersion":"example.com/v1"}',
        '{"apiVersion":1}',
        '{"apiVersion":"client.authentication.k8s.io/v1","spec":{"cluster":{"server":1}}}',
        '{"spec":{},"spec":{"cluster":{}}}',
        '"\udcff"',
    ],
)
def test_a_variable_that_no_client_sets_is_refused(info):
    """A variable that no client would set is refused, and nothing is released."""
    with pytest.raises(RequestError):
        kubernetes.parse(Call((SERVER,), {"KUBERNETES_EXEC_INFO": info}, bytearray()))


def test_a_variable_that_is_too_long_is_refused():
    """A variable that is too long is refused, so memory is bounded."""
    info = {"KUBERNETES_EXEC_INFO": " " * (kubernetes.MAX_REQUEST + 1)}

    with pytest.raises(RequestError, match="longer than"):
        kubernetes.parse(Call((SERVER,), info, bytearray()))


@pytest.mark.parametrize("spec", [None, [], {}, {"cluster": None}, {"cluster": {}}])
def test_a_question_without_a_server_is_a_configuration_to_mend(spec):
    """A question without a server is refused, and the hint names the two lines that help."""
    with pytest.raises(UsageError) as caught:
        parse(spec=spec)

    assert "provideClusterInfo" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFoundError("there is no session"),
        SessionEndedError("the session has ended: idle", "idle"),
        VaultRevokedError("the vault key is gone"),
    ],
)
def test_a_miss_says_how_to_start_a_session(error):
    """kubectl shows stderr above its own error, so its user reads what to type."""
    refused = kubernetes.refuse(error, parse())

    assert (b"", 1, True) == (refused.reply, refused.exit_code, refused.always)
    assert refused.message.endswith(f"start one with: keylease login --tool kubernetes {SERVER}\n")


def test_a_locked_keychain_is_told_as_it_is():
    """A locked keychain is reported as locked; the message does not suggest a new login."""
    error = KeychainUnavailableError("the keychain is locked")

    assert "hint: unlock the keychain" in kubernetes.refuse(error, parse()).message


def test_a_wrong_command_line_is_told_how_it_should_be():
    """A wrong command line gets the usage, which kubectl shows."""
    with pytest.raises(UsageError) as caught:
        kubernetes.parse(Call(("a", "b"), {}, bytearray()))

    refused = kubernetes.refuse(caught.value)
    assert (2, True) == (refused.exit_code, refused.always)
    assert refused.message.endswith("usage: keylease-kubernetes [SERVER]\n")


def test_half_a_character_in_the_environment_is_refused():
    """Half a surrogate pair in a Windows environment is refused without a traceback."""
    call = Call((), {"KUBERNETES_EXEC_INFO": '{"apiVersion":"\ud800"}'}, bytearray())

    with pytest.raises(UsageError, match="half a character"):
        kubernetes.parse(call)
