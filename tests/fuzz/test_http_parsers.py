"""Any call gives the readers of Vault, Terraform, Go, pnpm and Bazel a request or a refusal."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import FUZZ

from keylease.errors import RequestError, UsageError
from keylease.model import Credential, Moment, Reply, Request, Session, Target
from keylease.protocols.base import Call
from keylease.protocols.http import authorization, split
from keylease.protocols.peers import load
from keylease.secrets.secret import Secret

TOOLS = {"vault": "vault", "terraform": "terraform", "go": "web", "pnpm": "npm", "bazel": "web"}
WORDS = st.sampled_from(["get", "store", "erase", "forget", "https://a.example/b", "//a.example/"])
TEXT = st.text(max_size=40)
URLS = st.from_regex(r"\A(https?:)?//[a-z.:@/%\\\[\]0-9 \n?#\x00-\xff]{0,40}\Z")
ENVIRONMENTS = st.dictionaries(st.sampled_from(["VAULT_ADDR", "BAO_ADDR"]), TEXT | URLS)
MESSAGES = st.binary() | st.fixed_dictionaries(
    {}, optional={"uri": TEXT | URLS, "token": TEXT, "x": TEXT}
).map(lambda members: json.dumps(members).encode())
CREDENTIALS = st.builds(
    Credential, st.none() | TEXT, st.binary().map(Secret), st.none() | TEXT | st.just("Basic")
)


@pytest.mark.parametrize("tool", TOOLS)
@FUZZ
@given(st.lists(WORDS | URLS | TEXT, max_size=3), ENVIRONMENTS, MESSAGES)
def test_any_call_is_a_request_or_a_refusal(tool, arguments, environment, message):
    """The reader raises only our own refusals, and every target it returns is well-formed."""
    protocol, request = load(tool), None
    with contextlib.suppress(RequestError, UsageError):
        request = protocol.parse(Call(tuple(arguments), environment, bytearray(message)))

    if request is not None and request.target is not None:
        assert TOOLS[tool] == request.target.namespace
        assert request.target.protocol in {"https", "http"}
        assert request.target.host
        assert not set("/@\\%? \n") & set(request.target.host)


@pytest.mark.parametrize("tool", TOOLS)
@FUZZ
@given(st.lists(WORDS | URLS | TEXT, max_size=3), ENVIRONMENTS, MESSAGES)
def test_a_refusal_is_lines_of_ours(tool, arguments, environment, message):
    """A refusal has no control characters that a terminal obeys."""
    protocol = load(tool)
    try:
        protocol.parse(Call(tuple(arguments), environment, bytearray(message)))
    except (RequestError, UsageError) as error:
        refused = protocol.refuse(error)
    else:
        return
    lines = refused.message.splitlines()
    assert all(line.startswith(("keylease: ", "usage: ")) for line in lines)
    assert all(line.isprintable() for line in lines)


@FUZZ
@given(CREDENTIALS)
def test_a_header_is_one_line(credential):
    """No credential turns one header into two."""
    with contextlib.suppress(RequestError):
        header = authorization(credential)
        assert bytes(header).isascii()
        assert str(header, "ascii").isprintable()


@FUZZ
@given(CREDENTIALS, TEXT)
def test_an_answer_to_go_is_one_url_and_one_header(credential, path):
    """Neither a path nor a secret adds a second URL or header to Go's answer."""
    now = Moment(1, 1, "boot")
    target = Target("web", "https", "a.example", path)
    session = Session("0" * 32, target, None, None, None, 1, now, now, None, 900, 28800)
    with contextlib.suppress(RequestError):
        said = b"".join(load("go").render(Request("get", target), Reply(session, credential, 9)))
        url, _, header, *rest = said.split(b"\n")
        assert url.startswith(b"https://a.example")
        assert header.startswith(b"Authorization: ")
        assert [b"", b""] == rest


@FUZZ
@given(URLS | TEXT)
def test_a_url_that_is_taken_apart_can_be_put_together(url):
    """A parsed URL that is joined again names the same place."""
    with contextlib.suppress(UsageError):
        place = split(url)
        assert place == split(f"{place.scheme}://{place.host}/{place.path}")
