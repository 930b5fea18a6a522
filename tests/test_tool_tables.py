"""The tables of tools in the documents are those of the program, and each tool has its page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from keylease.programs import protocol_of
from keylease.protocols.peers import load
from keylease.tools import TOOLS

ROOT = Path(__file__).parent.parent

if not (ROOT / "packaging" / "tables.py").exists():
    pytest.skip("the script is in the source tree only", allow_module_level=True)

SPEC = importlib.util.spec_from_file_location("tables", ROOT / "packaging" / "tables.py")
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)
PAGES = [tool for tool in TOOLS if tool.name != "git"]


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_up_to_date(document):
    """Whoever reads a table reads what the program knows; else run packaging/tables.py."""
    assert tables.written(document) == document.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["tools", "sessions", "programs"])
def test_an_old_table_is_noticed(tmp_path, name):
    """The test above fails for a table that lacks a row."""
    document = tmp_path / "page.md"
    document.write_text(f"a\n<!-- {name} -->\n| old |\n<!-- end -->\nb\n", encoding="utf-8")

    said = tables.written(document)

    assert "| old |" not in said
    assert "docs/tools/docker.md" in said
    assert said.startswith(f"a\n<!-- {name} -->\n| ")
    assert said.endswith("|\n<!-- end -->\nb\n")


@pytest.mark.parametrize("tool", PAGES, ids=lambda tool: tool.name)
def test_every_tool_has_its_page(tool):
    """A reader finds what the tool asks, how its program is called, and from which version on."""
    page = (ROOT / "docs" / "tools" / f"{tool.page}.md").read_text(encoding="utf-8")

    assert not tool.setup or f"keylease setup {tool.name}" in page
    if tool.protocol:
        usage = load(tool.name).USAGE
        assert f"\n## {tool.program}\n\n```text\n{usage}\n```\n" in page


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool.protocol], ids=lambda t: t.name)
def test_a_program_is_named_for_its_protocol(tool):
    """A helper finds its protocol by its own name, without importing the table."""
    assert tool.protocol == protocol_of(tool.program)


@pytest.mark.parametrize("tool", [tool for tool in PAGES if tool.since], ids=lambda tool: tool.name)
def test_the_lowest_version_is_on_the_page(tool):
    """Whoever has an older version learns it before the setup, not after it."""
    page = (ROOT / "docs" / "tools" / f"{tool.page}.md").read_text(encoding="utf-8")

    assert f"{tool.since} or newer" in page.replace("\n", " ").split("## Set up")[0]
