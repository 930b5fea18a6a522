"""Write the manual pages: docs/man/keylease.1, one for each command, and one for git's helper.

    python packaging/man.py            writes the pages
    python packaging/man.py --check    names outdated pages and exits with code 1

A page has the help of its command, word for word, and the exit codes and variables of docs/cli.md.
A helper has no help, so its page is its section of docs/cli.md or of its tool's page. click-man
does not work here: it misses commands that are imported when called, and does not escape the help
for roff. The pages use only man(7), without extensions of groff.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from keylease import __version__
from keylease.cli import keylease
from keylease.protocols.git import USAGE
from keylease.tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.tools import Tool

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = ROOT / "docs" / "man"
_DOCUMENT: Final = ROOT / "docs" / "cli.md"
# In click's help this marks a paragraph that is not rewrapped.
_VERBATIM: Final = "\b"
HELPER: Final = "git-credential-keylease"
# The other programs that tools run, each with the rows of its tools.
OTHERS: Final = {
    each.program: tuple(tool for tool in TOOLS if tool.program == each.program)
    for each in TOOLS
    if each.protocol and each.program != HELPER
}
_ROW: Final = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return every page by the name of its file."""
    found = {}
    for context in _contexts(click.Context(keylease, info_name="keylease")):
        name = context.command_path.replace(" ", "-")
        found[f"{name}.1"] = "".join(f"{line}\n" for line in _page(name, context))
    found[f"{HELPER}.1"] = "".join(f"{line}\n" for line in _helper_page())
    for name, tools in OTHERS.items():
        found[f"{name}.1"] = "".join(f"{line}\n" for line in _other_page(name, tools))
    return found


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the program and every command, groups before their commands."""
    yield context
    for name, command in _commands(context):
        yield from _contexts(click.Context(command, parent=context, info_name=name))


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield name, command


def _page(name: str, context: click.Context) -> Iterator[str]:
    command = context.command
    yield from _head(name, _summary(command))
    yield ".SH SYNOPSIS"
    yield f".B {_text(context.command_path)}"
    yield _line(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            yield from _entry(*record)
    commands = list(_commands(context))
    if commands:
        yield ".SH COMMANDS"
        for each, inner in commands:
            yield from _entry(each, _summary(inner))

    yield from _table("## Exit codes", "EXIT STATUS")
    yield from _table("## Environment", "ENVIRONMENT")
    others = [(f"{name}-{each}", "1") for each, _ in commands]
    if context.parent is not None:
        others.insert(0, (context.parent.command_path.replace(" ", "-"), "1"))
    yield from _see_also(others)


def _helper_page() -> Iterator[str]:
    """Yield the page of git's helper, from its section of the document."""
    yield from _head(HELPER, "answer git from the sessions of keylease")
    yield ".SH SYNOPSIS"
    synopsis = USAGE.removeprefix(f"usage: {HELPER} ")
    yield from (f".B {_text(HELPER)}", _line(synopsis), ".SH DESCRIPTION")
    text = _section(f"## {HELPER}").split("```\n")[-1].split("\n### ")[0]
    yield from _paragraphs(_plain(text))
    yield from _table("### Operations", "OPERATIONS")
    yield from _table("### Options of the helper", "OPTIONS")
    yield from _table("### Exit codes of the helper", "EXIT STATUS")
    yield from _table("## Environment", "ENVIRONMENT")
    others = (("keylease", "1"), ("keylease-setup-git", "1"), ("git-credential", "1"))
    yield from _see_also([*others, ("gitcredentials", "7")])


def _other_page(name: str, tools: tuple[Tool, ...]) -> Iterator[str]:
    """Yield the page of another tool's helper, from the section of its name in the tool's page."""
    titles = ", ".join(tool.title for tool in tools)
    yield from _head(name, f"answer {titles} from the sessions of keylease")
    yield ".SH SYNOPSIS"
    document = ROOT / "docs" / "tools" / f"{tools[0].page}.md"
    _, synopsis, text = _section(f"## {name}", document).split("```", 2)
    usage = synopsis.removeprefix("text\n").strip().removeprefix(f"usage: {name} ")
    yield from (f".B {_text(name)}", _line(usage), ".SH DESCRIPTION")
    yield from _paragraphs(_plain(text))
    yield from _table("## Environment", "ENVIRONMENT")
    setups = (f"keylease-setup-{tool.name}" for tool in tools if tool.setup)
    others = (each for tool in tools for each in tool.see)
    yield from _see_also([(each, "1") for each in ("keylease", "keylease-login", *setups, *others)])


def _head(name: str, summary: str) -> Iterator[str]:
    # No date, so that an unchanged page is the same file in every build.
    yield f'.TH {_word(name.upper())} 1 "" {_word(f"keylease {__version__}")} "keylease manual"'
    yield ".SH NAME"
    # man(7): apropos reads "name \- description", in one line and without a full stop.
    yield f"{_text(name)} \\- {_text(summary)}"


def _see_also(others: list[tuple[str, str]]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    pages = [f".BR {_text(name)} ({section})" for name, section in others]
    yield " ,\n".join(pages)


def _section(heading: str, document: Path = _DOCUMENT) -> str:
    """Return the text below a heading of the document, up to the next heading of its level."""
    text = document.read_text(encoding="utf-8").split(f"\n{heading}\n")[1]
    return text.split(f"\n{heading.partition(' ')[0]} ")[0]


def _table(heading: str, title: str) -> Iterator[str]:
    """Yield a table of the document."""
    yield f".SH {title}"
    _columns, *rows = _ROW.findall(_section(heading))
    for key, meaning in rows:
        yield from _entry(_plain(key), _plain(meaning))


def _plain(markdown: str) -> str:
    """Return the text of a table's cell, without code marks and link targets."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")


def _summary(command: click.Command) -> str:
    """Return the first sentence of the help."""
    first = " ".join((command.help or "").split("\n\n")[0].split()).removesuffix(".")
    return first[:1].lower() + first[1:]


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        lines = paragraph.splitlines()
        if lines[0].strip() == _VERBATIM:
            yield from (".PP", ".RS 4", ".nf")
            yield from (_line(line.strip()) for line in lines[1:])
            yield from (".fi", ".RE")
            continue
        if number:
            yield ".PP"
        yield _line(" ".join(paragraph.split()))


def _entry(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(term)}"
    yield _line(meaning)


def _line(text: str) -> str:
    """Return a line of text, escaped if roff would take it for a request."""
    escaped = _text(text)
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def _text(text: str) -> str:
    """Escape backslashes for roff, and dashes so that they can be copied and typed."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _word(text: str) -> str:
    return f'"{_text(text)}"'


def outdated() -> list[str]:
    """Return the names of pages that are missing, outdated or of no command."""
    wanted = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*.1")}
    return sorted(
        name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)
    )


def main() -> int:
    """Write the pages, or check them."""
    if sys.argv[1:] == ["--check"]:
        names = outdated()
        print("\n".join(names) or "every page is up to date")
        return 1 if names else 0
    wanted = pages()
    PAGES.mkdir(exist_ok=True)
    for path in PAGES.glob("*.1"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (PAGES / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {len(wanted)} pages to {PAGES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
