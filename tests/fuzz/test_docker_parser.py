"""Any bytes give docker's reader a request or a refusal."""

import contextlib
import json

from hypothesis import example, given
from hypothesis import strategies as st

from keylease.errors import RequestError, UsageError
from keylease.protocols import docker
from keylease.protocols.base import Call

ACTIONS = st.sampled_from(["get", "store", "erase", "list", "version", "-v", "--help", ""])
TEXT = st.text(max_size=30)
STORES = st.fixed_dictionaries(
    {}, optional={"ServerURL": TEXT, "Username": TEXT, "Secret": TEXT, "secret": TEXT, "x": TEXT}
).map(lambda members: json.dumps(members).encode())
URLS = st.from_regex(rb"\A(https?://|ftp://)?[a-z.:@/\[\]0-9 \n\x00-\xff]{0,40}\Z")


@given(st.lists(ACTIONS | TEXT, max_size=2), st.binary() | STORES | URLS)
@example(["get"], b"https://https://x")
@example(["store"], b'{"ServerURL":"\\ud83d","Username":"a","Secret":"b"}')
def test_any_bytes_are_a_request_or_a_refusal(arguments, message):
    """The reader raises only our own refusals, and every target it returns is well-formed."""
    request = None
    with contextlib.suppress(RequestError, UsageError):
        request = docker.parse(Call(tuple(arguments), {}, bytearray(message)))

    if request is not None and request.target is not None:
        assert "docker" == request.target.namespace
        assert request.target.host
        assert "/" not in request.target.host
        assert request.target.path is not None
        assert request.target == docker.target(request.target.url)


@given(st.binary() | STORES | URLS)
def test_no_refusal_repeats_a_message(message):
    """No refusal repeats the message, and each is one line."""
    try:
        docker.parse(Call(("store",), {}, bytearray(message)))
    except RequestError as error:
        said = docker.refuse(error).reply
    else:
        return
    assert said.isascii()
    assert 1 == said.count(b"\n")
