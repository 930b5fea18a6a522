"""Exported lines use the Elastic Common Schema, which log systems of fleets understand."""

from __future__ import annotations

import json
import re

import pytest
from support.audit_records import HOST, record

from keylease.audit.events import EVENTS
from keylease.audit.export.ecs import document

# ECS, "Expected event types for category ...", for the categories used here.
EXPECTED = {
    "authentication": {"start", "end", "info"},
    "session": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "file": {"access", "change", "creation", "deletion", "info"},
}
DIGEST = "ab" * 32


def test_release_in_the_words_of_the_schema():
    """A release uses the schema's own fields, so dashboards need no keylease rules."""
    line = record(target=HOST | {"host": "git.example:8443", "path": "a/b"}, seq=7)

    assert {
        "@timestamp": "2026-11-22T09:30:00.000000Z",
        "ecs": {"version": "8.11.0"},
        "message": "session.released for https://git.example:8443/a/b",
        "event": {
            "kind": "event",
            "module": "keylease",
            "dataset": "keylease.audit",
            "provider": "keylease",
            "action": "session.released",
            "category": ["authentication", "session"],
            "type": ["info"],
            "outcome": "success",
            "sequence": 7,
            "hash": DIGEST,
        },
        "user": {"name": "ada"},
        "process": {
            "pid": 7,
            "executable": "/usr/bin/git",
            "parent": {"executable": "/usr/bin/bash"},
        },
        "url": {
            "full": "https://git.example:8443/a/b",
            "scheme": "https",
            "domain": "git.example",
            "port": 8443,
            "path": "/a/b",
        },
        "destination": {"address": "git.example:8443"},
        "keylease": {
            "boottime_ns": 7_000_000_000,
            "session": {"id": "0123456789abcdef0123456789abcdef"},
            "chain": {"key": "00" * 8, "prev": "00" * 32, "mac": "11" * 32},
            "target": {"namespace": "web"},
        },
    } == document(line, DIGEST)


def test_refusal_is_a_failure_with_its_reason():
    """A refusal is exported as a failure with its reason, which alerts look for."""
    found = document(record("session.refused", outcome="refused", reason="policy"), DIGEST)

    assert ("failure", "policy") == (found["event"]["outcome"], found["event"]["reason"])
    assert "session.refused refused (policy) for https://git.example" == found["message"]


def test_message_names_the_tool_of_a_session():
    """The message tells docker's session for a host from git's."""
    found = document(record(target={**HOST, "namespace": "docker"}), DIGEST)

    assert "session.released for docker https://git.example" == found["message"]


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_has_categories_and_types_that_go_together(event):
    """Each event has only types that the schema allows for its category."""
    found = document(record(event), DIGEST)["event"]

    assert found["category"], "no event is without a category"
    for category in found["category"]:
        assert set(found["type"]) <= EXPECTED[category]


def test_event_of_a_later_version_has_no_category():
    """An unknown event gets no category, since the schema prefers none to a wrong one."""
    assert "category" not in document(record("session.cloned"), DIGEST)["event"]


@pytest.mark.parametrize(
    ("host", "domain", "port"),
    [
        ("git.example", "git.example", None),
        ("[2001:db8::1]", "[2001:db8::1]", None),
        ("[2001:db8::1]:8443", "[2001:db8::1]", 8443),
        ("git.example:", "git.example:", None),
        ("git.example:\u0663", "git.example:\u0663", None),
        ("a:" + "9" * 5000, "a:" + "9" * 5000, None),
    ],
)
def test_host_and_port_are_taken_apart_where_there_is_a_port(host, domain, port):
    """The domain and the port are separate fields; a host without a port stays as it is."""
    url = document(record(host=host), DIGEST)["url"]

    assert (domain, port) == (url["domain"], url.get("port"))


def test_bytes_that_are_no_text_do_not_cost_the_document():
    """A lone surrogate is escaped, because Vector's parser refuses it raw."""
    packed = json.dumps(document(record(host="git\udcff.example"), DIGEST))

    assert not re.search(r"(?<!\\)\\ud", packed)
    assert r"https://git\udcff.example" == json.loads(packed)["url"]["full"]


def test_what_is_absent_is_left_out():
    """A field without a value is left out."""
    found = document(record("audit.gap", target=None, username=None, extra={"lost": 3}), DIGEST)

    assert {"url", "user", "destination"} & set(found) == set()
    assert 3 == found["keylease"]["lost"]
