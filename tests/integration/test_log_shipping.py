"""docs/admin.md, the log of a fleet: the shippers' configurations do what the document says."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from support.rig import EXAMPLE, Rig, bring
from support.waiting import WAIT_SECONDS

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "admin.md").read_text(encoding="utf-8")


def below(heading, language):
    """Return the first code block in a language below a heading."""
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.split(f"### {heading}\n")[1], re.DOTALL)
    return found[1]


def journald():
    """Return the command of the unit."""
    unit = configparser.RawConfigParser(inline_comment_prefixes=None)
    unit.optionxform = str
    unit.read_string(below("journald", "ini"))
    assert "6" == unit["Service"]["RestartPreventExitStatus"]
    return shlex.split(unit["Service"]["ExecStart"])


def vector():
    """Return the command of the source."""
    source = tomllib.loads(below("Vector", "toml"))["sources"]["keylease"]
    assert ("exec", "streaming", "json") == (
        source["type"],
        source["mode"],
        source["decoding"]["codec"],
    )
    return source["command"]


def fluent_bit():
    """Return the command of the input."""
    found = yaml.safe_load(below("Fluent Bit", "yaml"))
    (source,) = found["pipeline"]["inputs"]
    assert source["parser"] == found["parsers"][0]["name"]
    return shlex.split(source["command"])


class Shipper:
    """Runs a command as a log shipper does, on the log of a rig."""

    def __init__(self, words, rig, cursor):
        assert "keylease" == words[0]
        place = words.index("--cursor") + 1
        self._words = [sys.executable, "-m", *words[:place], str(cursor), *words[place + 1 :]]
        self._environment = os.environ | {"KEYLEASE_STATE_DIR": str(rig.path)}

    def take(self, count):
        """Start it, read that many lines, kill it, and return the lines' numbers."""
        with subprocess.Popen(
            self._words, stdout=subprocess.PIPE, env=self._environment, text=True
        ) as process:
            lines = [json.loads(process.stdout.readline()) for _ in range(count)]
            if "--follow" in self._words:
                process.stdout.close()  # a shipper that is killed reads no more
            else:
                assert "" == process.stdout.read()
            assert 0 == process.wait(60)
        return [line.get("seq") or line["event"]["sequence"] for line in lines]

    def run(self):
        """Run it to its end; return its exit code and output."""
        done = subprocess.run(
            self._words,
            capture_output=True,
            env=self._environment,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        return done.returncode, done.stderr


@pytest.mark.parametrize("words", [journald, vector, fluent_bit])
def test_a_shipper_goes_on_where_it_was(words, tmp_path):
    """Every line is shipped once, even if the shipper restarts and lines come meanwhile."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring(EXAMPLE))
    shipper = Shipper(words(), rig, tmp_path / "cursor")
    before = len(rig.lines())

    first = shipper.take(before)
    rig.again().session.store(bring(EXAMPLE._replace(host="two.example")))
    after = len(rig.lines())
    second = shipper.take(after - before)

    assert after > before
    assert [*range(1, after + 1)] == first + second


@pytest.mark.parametrize("words", [journald, vector, fluent_bit])
def test_a_log_that_was_taken_back_ends_the_shipping(words, tmp_path):
    """A log that was cut back ends the shipping with the exit code that prevents a restart."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring(EXAMPLE))
    shipper = Shipper(words(), rig, tmp_path / "cursor")
    shipper.take(len(rig.lines()))
    (day,) = (rig.path / "audit").glob("*.jsonl")
    day.write_bytes(b"".join(day.read_bytes().splitlines(keepends=True)[:-1]))

    code, said = shipper.run()

    assert 6 == code
    assert "keylease audit verify" in said
