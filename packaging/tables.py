"""Write the tables of tools in README.md and docs/cli.md, from the rows of `keylease.tools`.

    python packaging/tables.py            writes them anew
    python packaging/tables.py --check    says which document is out of date, with exit code 1

A table stands between the comments `<!-- NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keylease.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.tools import Tool

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = (ROOT / "README.md", ROOT / "docs" / "cli.md")
_TABLE: Final = re.compile(
    r"(?<=<!-- )(tools|sessions|programs)( -->\n).*?(?=<!-- end -->)", re.DOTALL
)


def written(document: Path) -> str:
    """Return the text of a document, with its tables as they have to be."""
    directory = "tools" if document.parent.name == "docs" else "docs/tools"
    tables = {"tools": _tools, "sessions": _sessions, "programs": _programs}
    return _TABLE.sub(
        lambda found: f"{found[1]}{found[2]}"
        + "".join(f"{row}\n" for row in tables[found[1]](directory)),
        document.read_text(encoding="utf-8"),
    )


def _tools(directory: str) -> Iterator[str]:
    yield from ("| tool | set up by | instead of |", "|---|---|---|")
    for tool in TOOLS:
        if tool.setup:
            yield f"| {_link(tool, tool.title, directory)} | `{tool.setup}` | {tool.replaces} |"


def _sessions(directory: str) -> Iterator[str]:
    yield from ("| tool | URL | content of a session |", "|---|---|---|")
    for tool in TOOLS:
        if tool.target:
            yield f"| {_link(tool, f'`{tool.name}`', directory)} | {tool.target} | {tool.holds} |"


def _programs(directory: str) -> Iterator[str]:
    yield from ("| program | who runs it |", "|---|---|")
    for tool in TOOLS:
        if tool.program and tool.page:
            yield f"| `{tool.program}` | {_link(tool, tool.title, directory)} |"


def _link(tool: Tool, words: str, directory: str) -> str:
    return f"[{words}]({directory}/{tool.page}.md)" if tool.page else words


def main() -> int:
    """Write the documents, or check them."""
    outdated = [each for each in DOCUMENTS if written(each) != each.read_text(encoding="utf-8")]
    if sys.argv[1:] == ["--check"]:
        print("\n".join(map(str, outdated)) or "every table is up to date")
        return 1 if outdated else 0
    for each in outdated:
        each.write_text(written(each), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
