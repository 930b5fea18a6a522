"""The check of the audit log: faults that stop every release are reported with a remedy."""

import pytest


def told(console):
    """Return what doctor says of the audit log."""
    lines = console.run("doctor").out.splitlines()
    return [line for line in lines if line[6:].startswith("audit ")]


def test_machine_without_a_log_is_in_order(console):
    """The first line makes the log."""
    (line,) = told(console)

    assert line.startswith("ok    audit  ")
    assert line.endswith("the log has no line yet")


@pytest.mark.parametrize("torn", [b"", b'{"seq":4,"ti'])
def test_log_that_can_be_gone_on_with_is_in_order(console, torn):
    """Half a line is what a crash leaves, and the next line deals with it."""
    console.login()
    (path,) = (console.state / "audit").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(torn)

    (line,) = told(console)
    assert line.startswith("ok    audit  ")
    assert "lines of 1 day;" in line


def test_line_of_somebody_else_is_told(console):
    """Nothing is released after it, and nothing else on this page would say why."""
    console.login()
    (path,) = (console.state / "audit").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"hello\n")

    (line,) = told(console)
    assert line.startswith("fail  audit  ")
    assert path.name in line
