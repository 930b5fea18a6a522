"""Configuration and messages of any bytes and nesting give one of our answers."""

import contextlib
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import FUZZ

from keylease import wiring
from keylease.errors import ConfigError, RequestError, UsageError
from keylease.model import Options
from keylease.protocols.base import Call
from keylease.protocols.peers import load

DEPTHS = st.integers(min_value=1, max_value=20_000)
OPENINGS = st.sampled_from([b"[", b'{"a":', b"[[", b'[{"a":[', b'"\\'])
NESTED = st.builds(lambda opening, depth: opening * depth, OPENINGS, DEPTHS)
TOML = st.builds(lambda nested: b"x = " + nested.replace(b'"a":', b"a = "), NESTED)
KEYS = st.builds(lambda depth: b"[" + b".".join([b"a"] * depth) + b"]\n", DEPTHS)
MESSAGES = {
    "docker": ("store",),
    "cargo": (),
    "terraform": ("store", "x.example"),
    "bazel": ("get",),
}


@FUZZ
@given(data=st.binary(max_size=400) | TOML | KEYS)
def test_any_configuration_is_read_or_refused(tmp_path_factory, data):
    """A configuration of any bytes is read or gives a `ConfigError`, no other exception."""
    place = Path(tmp_path_factory.mktemp("config"), "keylease")
    place.mkdir(mode=0o700)
    (place / "config.toml").write_bytes(data)
    (place / "config.toml").chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(place.parent))
        found, settings = wiring._configured(Options(), {}, None)

    assert (found is None) == isinstance(settings.refusal, ConfigError)


@pytest.mark.parametrize("tool", MESSAGES)
@FUZZ
@given(data=st.binary(max_size=400) | NESTED)
def test_any_message_is_a_request_or_a_refusal(tool, data):
    """A message of any bytes and nesting is parsed or refused, with no other exception."""
    call = Call(MESSAGES[tool], MappingProxyType({}), bytearray(data))
    with contextlib.suppress(RequestError, UsageError):
        load(tool).parse(call).wipe()
