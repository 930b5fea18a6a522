"""git's protocol with random messages, compared with a model of git.

`KEYLEASE_FUZZ_EXAMPLES=25000` compares a million messages.
"""

import secrets
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import EXAMPLES, FUZZ
from support.git_messages import any_message, git_reads, messages

from keylease.errors import RequestError
from keylease.model import Credential, Moment, Reply, Request, Session, Target
from keylease.protocols import git
from keylease.protocols.base import Call
from keylease.secrets.secret import Secret

ACTIONS = st.sampled_from(("get", "store", "erase", "capability", "list", ""))
CONTROL = frozenset("".join(map(chr, [*range(32), 127])))
SECRETS = st.one_of(st.binary(max_size=40), st.sampled_from((b"", b"a\rb", b"a\nb", b"\0", b"=")))
NAMES = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.binary(max_size=20).map(lambda name: name.decode("utf-8", "surrogateescape")),
)
CAPABILITIES = st.frozensets(st.sampled_from(("authtype", "state")))


def parsed(action, message):
    """Return the request, or None if it was refused; anything else fails the test."""
    try:
        return git.parse(Call((action,), {}, bytearray(message)))
    except RequestError:
        return None


def meaning(action, message):
    """Return everything that a message says, in a comparable form."""
    request = parsed(action, message)
    if request is None or request.credential is None:
        return request
    bare = [bytes(request.credential.secret.reveal())]
    bare += [(name, bytes(value.reveal())) for name, value in request.credential.fields]
    return request._replace(credential=None), bare, request.credential[2:4]


def as_bytes(name):
    """Return a name's own bytes."""
    return None if name is None else name.encode("utf-8", "surrogateescape")


def agrees(request, understood):
    """Return whether the request is about what git understood."""
    path = understood[b"path"].lstrip(b"/") if b"path" in understood else None
    return (
        as_bytes(request.target.protocol) == understood[b"protocol"]
        and as_bytes(request.target.host) == understood[b"host"]
        and as_bytes(request.target.path) == path
        and as_bytes(request.username) == understood.get(b"username")
    )


@FUZZ
@given(ACTIONS, st.binary(max_size=300))
def test_any_bytes_give_a_request_or_a_refusal(action, message):
    """No bytes on stdin crash the helper."""
    request = parsed(action, message)

    assert request is None or isinstance(request, Request)


@FUZZ
@given(ACTIONS, messages())
def test_any_message_gives_a_request_that_can_be_answered(action, message):
    """Every understood message has a host and clean names, and can get an empty answer."""
    request = parsed(action, message)

    if request is None:
        return
    assert isinstance(git.render(request, None), list)
    assert (request.target is None) == (request.action in {"describe", "ignore"})
    if request.target is not None:
        assert request.target.host
        assert request.target.protocol
        names = [*request.target, request.username, *request.echoes]
        assert not CONTROL & set("".join(name or "" for name in names))
        assert (request.credential is None) or request.action != "get"
    if request.credential is not None:
        assert request.username == request.credential.username
        assert not set(b"\0\r\n") & set(request.credential.secret.reveal())


def test_what_is_understood_is_what_git_understood():
    """keylease and git never read different hosts; a doubtful message is refused."""
    seen = Counter()

    @FUZZ
    @given(messages())
    def check(message):
        request = parsed("get", message)
        understood = git_reads(message)
        seen[request is not None, understood is not None] += 1
        if request is not None:
            assert understood is not None, "git would not even have asked"
            assert agrees(request, understood)

    check()

    # The control: both answers occur, and also messages that git takes and keylease refuses.
    assert seen[True, True]
    assert seen[False, True]
    assert seen[False, False]


def test_a_crowd_of_messages_is_understood_as_git_does():
    """Forty times as many messages, drawn faster and not shrunk, are read as git reads them."""
    seed = secrets.randbits(32)
    random = Random(seed)
    seen = Counter()

    for _ in range(40 * EXAMPLES):
        message = any_message(random)
        understood = git_reads(message)
        request = parsed("get", message)
        if request is None:
            seen["refused" if understood else "neither"] += 1
        else:
            assert understood, (seed, message)
            assert agrees(request, understood), (seed, message)
            seen["same"] += 1

    assert min(seen[word] for word in ("same", "refused", "neither")) > EXAMPLES, seen


def test_what_is_not_read_any_more_would_change_nothing():
    """Bytes after a complete message do not change its meaning."""
    seen = Counter()

    @FUZZ
    @given(st.sampled_from(("get", "store", "erase")), messages(), messages())
    def check(action, read, rest):
        if git.complete(Call((action,), {}, bytearray(read))):
            before = meaning(action, read)
            assert before == meaning(action, read + rest)
            seen[before is not None, bool(rest)] += 1

    check()

    assert seen[True, True]


@FUZZ
@given(messages())
def test_a_store_keeps_the_password_that_git_meant(message):
    """A store keeps the user name and secret that git meant."""
    request = parsed("store", message)
    understood = git_reads(message)

    if request is None or request.credential is None or request.credential.authtype is not None:
        return
    assert understood[b"password"] == bytes(request.credential.secret.reveal())
    assert agrees(request, understood)


def test_an_answer_is_read_by_git_as_it_was_meant():
    """git reads exactly this user name and password in the answer, or gets no answer."""
    seen = Counter()
    now = Moment(1, 1, "boot")
    target = Target("web", "https", "example.com")

    @FUZZ
    @given(NAMES, SECRETS, st.one_of(st.none(), NAMES), SECRETS, CAPABILITIES)
    def check(username, secret, authtype, token, announced):
        fields = (("oauth_refresh_token", Secret(token)),) if token else ()
        session = Session("0" * 32, target, username, authtype, None, 1, now, now, None, 900, 28800)
        credential = Credential(username, Secret(secret), authtype, None, fields)
        request = Request("get", target, capabilities=announced)
        try:
            answer = b"".join(git.render(request, Reply(session, credential, 2_000_000_000)))
        except RequestError:
            seen["refused"] += 1
            return
        # git adds the answer to its own request.
        understood = git_reads(b"protocol=https\nhost=example.com\n" + answer)
        expected = {b"protocol": b"https", b"host": b"example.com"}
        if username is not None:
            expected[b"username"] = as_bytes(username)
        if authtype is None:
            expected[b"password"] = secret
        assert expected == understood
        assert answer.endswith(b"\n")
        seen["said"] += 1

    check()

    assert seen["said"]
    assert seen["refused"]
