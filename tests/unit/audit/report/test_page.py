"""The report page escapes everything, loads nothing, and starts with what matters."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from support.audit_records import CALLER, at, record

from keylease.audit.report.page import POLICY, Origin, render
from keylease.audit.report.report import Period, Verification, compile_report

ORIGIN = Origin("/home/ada/.local/state/keylease/audit", at("18:00:00"), "0.1.0")
FITS = Verification("ok", "Every line fits.", (("lines", "3"),))
WHOLE = Period()
VOID = {"meta", "wbr", "br"}


class Page(HTMLParser):
    """The elements of a page, in order, and their text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Check that the element ends where it should."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note the visible text."""
        if self.open and self.open[-1] not in {"style", "title"}:
            self.texts.append(data)

    def all(self, tag):
        """Return the attributes of each element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        """Return all text in one line."""
        return " ".join(" ".join(self.texts).split())


def page(*records, verification=FITS, period=WHOLE):
    """Return the page about these records."""
    return render(compile_report(records), verification, period, ORIGIN)


def test_page_is_one_file_that_asks_nobody_for_anything():
    """The page needs no script, link, image or font, so it works without a network."""
    found = Page(page(record(), record("session.ended", reason="idle")))

    names = {tag for tag, _ in found.elements}
    assert set() == names & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    attributes = {key for _, each in found.elements for key in each}
    assert set() == attributes & {"src", "href", "style", "srcset", "action"}
    assert not [key for key in attributes if key.startswith("on")]
    assert not re.search(r"url\(|@import|https?://(?!git\.example)", page(record()))


def test_policy_lets_nothing_in_but_the_one_style_sheet():
    """The page's policy blocks everything but its style sheet, even after an escaping error."""
    text = page(record())
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    (found,) = [
        each["content"]
        for each in Page(text).all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]

    assert POLICY == found
    assert "default-src 'none'" in found
    assert f"style-src 'sha256-{digest}'" in found
    assert "unsafe" not in found


@pytest.mark.parametrize("field", ["host", "username", "executable", "session", "reason"])
@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</style><script>alert(1)</script>",
        "&lt;script&gt;",
        "<!--",
        "]]>",
        "' onmouseover='alert(1)",
    ],
)
def test_names_are_never_markup(field, hostile):
    """A name with markup adds no element to the page."""
    calm, wild = (Page(page(*_lines(field, name))) for name in ("plain", hostile))

    assert [tag for tag, _ in calm.elements] == [tag for tag, _ in wild.elements]
    if field != "session":
        assert hostile in "".join(wild.texts)


def _lines(field, value):
    changes = {"caller": CALLER | {"executable": value}}
    if field != "executable":
        changes = {field: value}
    if field == "reason":
        changes |= {"event": "session.ended"}
    return [
        record(**changes),
        record(**({"event": "session.refused", "outcome": "refused"} | changes)),
    ]


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u202e", r"\u202e"),
        ("\x1b", r"\x1b"),
        ("\udcff", r"\udcff"),
        ("\n", r"\n"),
        ("\0", r"\x00"),
    ],
)
def test_characters_that_cannot_be_seen_are_made_visible(character, shown):
    """Invisible and direction-changing characters in a name are shown as escapes."""
    text = page(record(host=f"git{character}.example"))

    assert character not in text.replace("\n", "" if character == "\n" else "\n")
    assert f'<bdi>https://git<span class="escape">{shown}</span>.example</bdi>' in text
    text.encode("utf-8")


def test_a_long_name_keeps_its_end():
    """A long name keeps its end, so names that differ there can be told apart."""
    text = page(record(host="a" * 1000 + ".one.example"))

    assert "a" * 100 not in text
    assert ".one.example" in text
    assert "1,020 characters" in text


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        ("ok", "good"),
        ("tail-ahead", "doubt"),
        ("pin-missing", "doubt"),
        ("key-missing", "doubt"),
        ("truncated", "bad"),
        ("gap", "bad"),
        ("edited", "bad"),
        ("something new", "bad"),
    ],
)
def test_verdict_stands_first_and_in_words(verdict, kind):
    """The verdict comes first and in words, not by colour alone."""
    text = page(record(), verification=Verification(verdict, "What it means."))

    found = Page(text)
    assert {"class": f"verdict {kind}", "aria-labelledby": "verification"} == found.all("section")[
        0
    ]
    assert found.text.index(f"Verification: {verdict}") < found.text.index("Refusals")


def test_headings_tables_and_captions_make_sense_to_who_listens():
    """A screen reader finds one main heading, no skipped level, and labelled tables."""
    found = Page(page(record(), record("session.refused", outcome="refused", reason="idle")))

    levels = [tag for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert ["h1"] == [level for level in levels if level < "h2"]
    assert {"h1", "h2"} == set(levels)
    assert len(found.all("table")) == len(found.all("caption"))
    assert all("scope" in attributes for attributes in found.all("th"))
    assert "en" == found.all("html")[0]["lang"]
    for attributes in found.all("svg"):
        assert "aria-hidden" in attributes or "aria-label" in attributes


def test_an_empty_log_gives_a_page_that_says_so():
    """An empty log gives a page that says so, without empty tables."""
    found = Page(page())

    assert "no line in this period" in found.text
    assert "Nothing was refused." in found.text
    assert "There was no session." in found.text
    assert [] == found.all("table")


def test_what_was_asked_for_is_said():
    """The page says which period it covers and where the log is."""
    text = Page(page(record(), period=Period(at("00:00:00"), at("12:00:00")))).text

    assert "Asked for: since 2026-11-22 00:00:00, until 2026-11-22 12:00:00 UTC." in text
    assert "/home/ada/.local/state/keylease/audit" in text


def test_page_of_a_long_log_stays_small():
    """The page stays below half a megabyte however long the log and its names are."""
    records = []
    for number in range(2000):
        name = {"host": "\u202e" * 1000 + f"{number}", "session": f"{number:032x}"}
        day = f"20{number % 90 + 10}-01-01"
        records += [
            record("session.created", time=at("09:00:00", day), **name),
            record(time=at("10:00:00", day), **name),
            record("session.refused", outcome="refused", time=at("10:00:00", day), **name),
        ]

    text = page(*records)

    assert len(text) < 3_000_000
    assert "Not shown: 1,880 earlier sessions" in text


def test_times_of_an_edited_line_break_nothing():
    """An edited line with broken times does not break the page."""
    odd = "2026-99-99T99:99:99.000000Z"

    found = Page(page(record("session.created", time=odd), record("session.ended", time=odd)))

    assert "2026-99-99" in found.text
