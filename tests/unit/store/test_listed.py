"""The record of the processes that got a list."""

import os
import subprocess
import sys

import pytest
from support.waiting import WAIT_SECONDS

from keylease.model import NANOSECONDS, Moment
from keylease.statefile import Directory
from keylease.store.listed import FILE, SECONDS, Listings
from keylease.wiring import parent_process

NOW = Moment(10**18, 10**15, "0" * 32)


@pytest.fixture
def state(tmp_path):
    """Return a function that opens a state directory."""
    return lambda: Directory.open(str(tmp_path / "state"), create=True)


def later(seconds):
    """Return the moment that many seconds after now."""
    return NOW._replace(boot_ns=NOW.boot_ns + seconds * NANOSECONDS)


def test_who_was_given_a_list_reads_it(state):
    """Only the same process, with the same tool family, reads the list, and for one minute."""
    listings = Listings(state, "7:1")
    listings.record("docker", NOW)

    assert listings.is_read("docker", NOW)
    assert listings.is_read("docker", later(SECONDS - 1))
    assert not listings.is_read("docker", later(SECONDS))
    assert not listings.is_read("docker", later(-1))
    assert not listings.is_read("docker", NOW._replace(boot="1" * 32))
    assert not listings.is_read("cargo", NOW)
    assert not Listings(state, "7:2").is_read("docker", NOW)


def test_nobody_reads_what_nobody_was_given(state):
    """Without a list every question is a use."""
    assert not Listings(state, "7:1").is_read("docker", NOW)


@pytest.mark.parametrize("record", [b"", b" ", b"x docker 7:1", b"-5 docker 7:1 " + b"0" * 32])
def test_a_torn_record_counts_as_none(state, record):
    """With a record that cannot be read every question is a use."""
    listings = Listings(state, "7:1")
    with state() as directory:
        directory.replace(FILE, record)

    assert not listings.is_read("docker", NOW)


def test_a_process_has_one_name():
    """The same parent always has the same name, and two parents have different names."""
    command = "from keylease.wiring import parent_process; print(parent_process().process)"
    ours = [
        subprocess.run(
            [sys.executable, "-c", command],
            check=True,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        for _ in range(2)
    ]

    assert ours[0].stdout == ours[1].stdout
    assert ours[0].stdout.startswith(str(os.getpid()))
    assert parent_process().process not in ours[0].stdout
