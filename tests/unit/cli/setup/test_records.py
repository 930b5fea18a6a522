"""Records of setups: lean, and made lean where an earlier version kept more."""

import base64
import json
import os
import re
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the paths are those of other systems", allow_module_level=True)

CANARY = "hunter2canary"
OLD = f"aws_secret_access_key = {CANARY}\n[profile dev]\n"
NEW = f"credential_process = /x/keylease-aws prod\n{OLD}credential_process = /x/keylease-aws dev\n"


@pytest.fixture
def record(console, tmp_path):
    """Return the record that an earlier version wrote, and the file that it is of."""
    file = tmp_path / "aws" / "config"
    file.parent.mkdir()
    file.write_text(f"[profile prod]\n{NEW}", "utf-8")
    span = [15, *(base64.b64encode(each.encode()).decode() for each in (NEW, OLD))]
    replaced = {"profile x": f"/bin/tool --key {CANARY}", "profile y": "/bin/tool", "z": None}
    console.state.mkdir(0o700)
    path = console.state / "setup-aws.json"
    path.write_text(json.dumps({"replaced": replaced, "files": {str(file): [span]}}))
    path.chmod(0o600)
    return path, file


def holds(path):
    """Return whether the record has the canary in it, as it is or in base64."""
    parts = re.findall(r'"([A-Za-z0-9+/]+={0,2})"', path.read_text())
    opened = [base64.b64decode(each) for each in parts if len(each) % 4 == 0]
    return CANARY in path.read_text() or any(CANARY.encode() in each for each in opened)


def checks(console):
    """Return what doctor finds."""
    return json.loads(console.run("doctor", "--json").out)["checks"]


def look(console):
    """Return what doctor finds of us."""
    return [each for each in checks(console) if "(keylease)" in each["found"]]


def test_a_record_of_an_earlier_version_is_found_and_made_lean(console, record):
    """doctor tells of it, gc rewrites it, and the undo is the same to the byte."""
    path, file = record
    assert holds(path), "the control: there is something to find"
    [found] = look(console)
    assert "warn" == found["verdict"]
    assert f"{path} (keylease) holds a part of the aws configuration" in found["found"]
    assert "run: keylease gc" == found["remedy"]

    assert "removed 1 record of a setup that had too much\n" == console.run("gc").out

    assert not holds(path)
    assert {"profile y": "/bin/tool", "z": None} == json.loads(path.read_text())["replaced"]
    assert [] == look(console)
    assert "nothing to remove\n" == console.run("gc").out
    os.environ["AWS_CONFIG_FILE"] = str(file)
    try:
        assert 0 == console.run("setup", "aws", "--undo").code
    finally:
        del os.environ["AWS_CONFIG_FILE"]
    assert f"[profile prod]\n{OLD}" == file.read_text("utf-8")
    assert not path.exists()


def test_a_setup_makes_the_record_lean(console, record, tmp_path, monkeypatch):
    """Also if it has nothing to change."""
    path, file = record
    program = tmp_path / "keylease-aws"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))

    assert 0 == console.run("setup", "aws", "prod").code

    assert not holds(path)


def test_a_copy_that_a_killed_setup_left_is_found_and_removed(console, record):
    """It has all of the tool's file in it. One that is written just now stays."""
    _, file = record
    console.run("gc")
    left = file.with_name(".config.0123456789abcdef.keylease")
    left.write_text(CANARY)

    [found] = look(console)
    assert f"{left} (keylease) is a copy of the aws configuration" in found["found"]
    assert CANARY not in str(found)
    assert "removed 1 unfinished copy of a configuration\n" == console.run("gc").out

    assert [file] == [*file.parent.iterdir()]
    assert [] == look(console)


def test_a_credential_in_a_record_is_found(console, record):
    """Whatever way it came there."""
    path, file = record
    text = base64.b64encode(f"//x/:_authToken={CANARY}\n".encode()).decode()
    path.write_text(json.dumps({"replaced": {}, "files": {str(file): [[0, text, ""]]}}))

    [found] = look(console)

    assert "which may be a password or token" in found["found"]


def test_a_broken_record_is_told_and_holds_nothing_up(console, record):
    """gc goes on with the sessions, and doctor with the other files."""
    path, _ = record
    path.write_text("[" * 100_000)

    said = console.run("gc")

    assert 0 == said.code
    assert "warning: aws: setup-aws.json is not a valid record of a setup" in said.err
    assert "aws: setup-aws.json is not a valid record of a setup" in str(checks(console))
