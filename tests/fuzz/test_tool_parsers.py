"""Any call gives the readers of cargo, AWS and Kubernetes a request or a refusal."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keylease.errors import RequestError, UsageError
from keylease.protocols import aws, cargo, kubernetes
from keylease.protocols.base import Call

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
URLS = st.from_regex(
    r"\A(sparse\+|registry\+)?(https?|ssh|file)://[A-Za-z.:@/\[\]0-9 ?#\\\n\x80-\xff]{0,30}\Z"
)
KINDS = st.sampled_from(["get", "login", "logout", "rotate"])
REGISTRIES = st.fixed_dictionaries({}, optional={"index-url": URLS | VALUES, "name": VALUES})
LINES = st.fixed_dictionaries(
    {"v": st.just(1)},
    optional={
        "kind": KINDS | VALUES,
        "registry": REGISTRIES | VALUES,
        "token": st.text() | VALUES,
        "args": VALUES,
    },
).map(lambda members: json.dumps(members).encode() + b"\n")
VERSIONS = st.sampled_from(["v1", "v1beta1", "v1alpha1"]).map(
    lambda version: f"client.authentication.k8s.io/{version}"
)
CLUSTERS = st.fixed_dictionaries({}, optional={"server": URLS | VALUES})
SPECS = st.fixed_dictionaries({}, optional={"cluster": CLUSTERS | VALUES, "interactive": VALUES})
INFOS = st.fixed_dictionaries(
    {}, optional={"apiVersion": VERSIONS | VALUES, "spec": SPECS | VALUES}
).map(json.dumps)
# Python decodes environments and command lines: no NUL, lone surrogates for undecodable bytes.
WORDS = st.binary(max_size=40).map(
    lambda word: word.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)


def parsed(protocol, call):
    """Return the request, or `None` if the call is properly refused."""
    with contextlib.suppress(RequestError, UsageError):
        return protocol.parse(call)
    return None


@given(st.binary() | LINES)
@example(b'{"v":1,"kind":"get","registry":{"index-url":"https://h\\ud800"}}\n')
def test_any_line_of_cargo_is_a_request_or_a_refusal(message):
    """The reader raises only our own refusals, and every target it returns is well-formed."""
    request = parsed(cargo, Call(("--cargo-plugin",), {}, bytearray(message)))

    if request is not None and request.target is not None:
        assert "cargo" == request.target.namespace
        assert request.target.host
        assert "/" not in request.target.host
        assert request.target.path is not None
        assert request.target == cargo.target(request.target.url)


@given(st.binary() | LINES)
def test_whatever_cargo_is_told_is_one_line_of_json(message):
    """cargo gets one line of JSON that repeats nothing of its message."""
    try:
        cargo.parse(Call(("--cargo-plugin",), {}, bytearray(message)))
    except RequestError as error:
        said = cargo.refuse(error).reply
    else:
        return
    assert 1 == said.count(b"\n")
    assert "Err" in json.loads(said)


@given(st.lists(URLS | WORDS, max_size=2), st.none() | INFOS | WORDS)
def test_any_question_of_kubernetes_is_a_request_or_a_refusal(arguments, info):
    """A request of Kubernetes is for the server that both argument and variable name."""
    environment = {} if info is None else {"KUBERNETES_EXEC_INFO": info}
    request = parsed(kubernetes, Call(tuple(arguments), environment, bytearray()))

    if request is not None:
        assert request.target == kubernetes.target(request.target.url)
        assert request.target in {kubernetes.target(each) for each in arguments} or not arguments


@given(st.lists(WORDS | st.text(max_size=20), max_size=2))
def test_any_name_for_aws_is_a_request_or_a_refusal(arguments):
    """An accepted name is one word to a shell and the session's whole target."""
    request = parsed(aws, Call(tuple(arguments), {}, bytearray()))

    if request is not None:
        assert request.target == aws.target(request.target.url)
        assert 1 == len(request.target.host.split())


@pytest.mark.parametrize("protocol", [aws, kubernetes])
@given(st.lists(WORDS, max_size=2))
def test_what_a_terminal_is_told_is_whole_lines(protocol, arguments):
    """No word of a command line reaches the terminal as control characters."""
    try:
        protocol.parse(Call(tuple(arguments), {}, bytearray()))
    except (RequestError, UsageError) as error:
        said = protocol.refuse(error).message
    else:
        return
    assert said.endswith("\n")
    assert all(line.isprintable() for line in said.splitlines())
