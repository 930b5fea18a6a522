"""Workflows run other people's code in our name, so their rights are limited and tested."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# A tag can move to other code, a commit cannot. The comment gives the version to people and
# dependabot.
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")


def uses(text):
    """Return what every `uses:` of a workflow names, with its comment."""
    return re.findall(r"^\s*(?:- )?uses:\s*(.+?)\s*$", text, re.MULTILINE)


def jobs(path):
    """Return the jobs of a workflow by name."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def steps(path):
    """Return every step of a workflow."""
    return [step for job in jobs(path).values() for step in job["steps"]]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request):
    """Return each workflow in turn."""
    return request.param


def test_there_is_a_workflow():
    """There is a workflow, so the other tests check something."""
    assert "ci.yml" in [path.name for path in WORKFLOWS]


def test_every_action_is_pinned_by_commit(workflow):
    """Every action is pinned by commit, so a moved tag cannot change the code."""
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
    """The check finds an action that is not pinned."""
    assert not PINNED.match(use)


def test_nothing_is_permitted_by_default(workflow):
    """Nothing is permitted by default."""
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))

    assert {} == content["permissions"]


def test_jobs_only_read(workflow):
    """Every job names its permissions, may not write, and has a time limit."""
    for name, job in jobs(workflow).items():
        assert set(job["permissions"].values()) <= {"read"}, name
        assert job["timeout-minutes"] <= 60, name


def test_checkout_keeps_no_credential(workflow):
    """A checkout keeps no token that a test could read."""
    checkouts = [step for step in steps(workflow) if "actions/checkout@" in step.get("uses", "")]

    assert checkouts
    assert [False] * len(checkouts) == [step["with"]["persist-credentials"] for step in checkouts]


def test_scripts_have_no_expressions(workflow):
    """No script contains an expression that a stranger's title or branch name could fill."""
    assert [] == [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")]
