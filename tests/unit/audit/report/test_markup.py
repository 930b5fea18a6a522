"""HTML that is safe by construction."""

from __future__ import annotations

from keylease.audit.report.markup import Markup, join, name, tag


def test_text_is_escaped_and_markup_is_not():
    """Only what this module made is taken for HTML."""
    assert "<p>&lt;b&gt;<b>x</b></p>" == tag("p", "<b>", tag("b", "x"))
    assert "a&amp;b" == join("a&b")


def test_attributes_are_escaped_and_named_as_html_names_them():
    """Underscores for dashes, and none for what is absent."""
    made = tag("td", class_="n", data_label='a"b', id=None)

    assert '<td class="n" data-label="a&quot;b"></td>' == made


def test_elements_without_content_have_no_end():
    """`meta` is one of them."""
    assert '<meta charset="utf-8">' == tag("meta", charset="utf-8")


def test_joining_text_to_markup_makes_text_again():
    """A `str` method on markup gives no markup, so what it returns is escaped when it is used."""
    assert "<p>&lt;b&gt;</p>" == tag("p", Markup("<b>") + "")


def test_nothing_and_emptiness_are_told_apart():
    """An absent user name is not an empty one."""
    assert "none" in name(None)
    assert "empty" in name("")
    assert name(None) != name("none")
