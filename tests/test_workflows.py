"""Workflows run other people's code in our name, so what they may do is written down and kept."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# A tag can be moved to other code, a commit cannot. The comment lets people and dependabot read it.
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")


def uses(text):
    """Return what every `uses:` of a workflow names, with the comment behind it."""
    return re.findall(r"^\s*(?:- )?uses:\s*(.+?)\s*$", text, re.MULTILINE)


def jobs(path):
    """Return the jobs of a workflow by name."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps(path):
    """Return every step of a workflow."""
    return [step for job in jobs(path).values() for step in job["steps"]]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request):
    """Each workflow in turn."""
    return request.param


def test_there_is_a_workflow():
    """The other tests of this module look at something."""
    assert "ci.yml" in [path.name for path in WORKFLOWS]


def test_every_action_is_pinned_by_commit(workflow):
    """Nobody can change the code that we run by moving a tag."""
    found = uses(workflow.read_text(encoding="utf-8"))

    assert found, "no action found: the pattern of this test is out of date"
    assert [] == [use for use in found if not PINNED.match(use)]


@pytest.mark.parametrize(
    "use",
    [
        "actions/checkout@v7 # v7",
        "actions/checkout@main",
        "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1",
        "./.github/actions/own",
        "docker://alpine:3",
    ],
)
def test_unpinned_action_would_be_found(use):
    """The pattern refuses what it is there to refuse."""
    assert not PINNED.match(use)


def test_nothing_is_permitted_by_default(workflow):
    """A job that names no permission has none."""
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))

    assert {} == content["permissions"]


def test_jobs_only_read(workflow):
    """Every job names its permissions, none may write, and none runs for ever."""
    for name, job in jobs(workflow).items():
        assert set(job["permissions"].values()) <= {"read"}, name
        assert job["timeout-minutes"] <= 60, name


def test_checkout_keeps_no_credential(workflow):
    """What a test runs cannot find the token that the checkout used."""
    checkouts = [step for step in steps(workflow) if "actions/checkout@" in step.get("uses", "")]

    assert checkouts
    assert [False] * len(checkouts) == [step["with"]["persist-credentials"] for step in checkouts]


def test_scripts_have_no_expressions(workflow):
    """No title or branch name of a stranger becomes part of a shell script."""
    assert [] == [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]
