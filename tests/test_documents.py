"""Links in the documents lead to existing places."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path for pattern in ("*.md", ".github/**/*.md", "docs/**/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text):
    """Return the anchors of a document's headings, as the usual hosts make them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def broken(path):
    """Return the relative links of a document without a target."""
    found = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        exists = target.exists()
        if exists and anchor:
            exists = anchor in anchors(target.read_text(encoding="utf-8"))
        if not exists:
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    """Every relative link has a target."""
    assert [] == broken(path)


def test_broken_link_is_found(tmp_path):
    """The check finds a broken link."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c\n[a](#a-b-c) [b](page.md) [c](nothing.md) [d](#none) [e](https://x.example/)\n",
        encoding="utf-8",
    )

    assert ["nothing.md", "#none"] == broken(page)


def test_the_map_names_files_that_are_there():
    """Every file and folder on the map of CONTRIBUTING exists."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}

    assert {"helper.py", "session/service.py", "keystores/"} <= named
    assert [] == sorted(name for name in named if not (ROOT / "src" / "keylease" / name).exists())
