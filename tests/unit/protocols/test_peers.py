"""The table of protocols."""

import subprocess
import sys

import pytest
from support.waiting import WAIT_SECONDS

from keylease.errors import UsageError
from keylease.protocols import peers


def test_a_protocol_is_found_by_the_name_of_its_peer():
    """git's protocol is found under the name git, and uses the namespace of the web."""
    git = peers.load("git")

    assert "web" == git.NAMESPACE
    assert 1 << 20 == git.MAX_REQUEST


@pytest.mark.parametrize("name", sorted(peers.PROTOCOLS))
def test_every_protocol_in_the_table_keeps_the_contract(name):
    """Every protocol in the table can be imported and has each function that the helper calls."""
    protocol = peers.load(name)

    for member in ("NAMESPACE", "MAX_REQUEST", "OPTIONS", "GREETING", "USAGE"):
        assert hasattr(protocol, member), member
    for member in ("complete", "parse", "render", "refuse"):
        assert hasattr(protocol, member), member


@pytest.mark.parametrize("name", ["", "os", "Git", "git\x1b[2J", "../git"])
def test_a_name_that_is_not_in_the_table_is_refused(name):
    """A name outside the table is never imported, and never reaches a terminal."""
    with pytest.raises(UsageError) as caught:
        peers.load(name)

    assert str(caught.value).isprintable()


def test_only_the_protocol_that_is_asked_for_is_imported():
    """Importing the table imports no protocol, so the helper loads only the one it needs."""
    code = (
        "import sys, keylease.protocols.peers as p;"
        "known = p.PROTOCOLS.values();"
        "inside = lambda: [m for m in known if f'keylease.protocols.{m}' in sys.modules];"
        "print(inside()); p.load('git'); print(inside())"
    )

    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=WAIT_SECONDS,
    )

    assert ["[]", "['git']"] == told.stdout.splitlines()
