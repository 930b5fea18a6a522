"""Templates escape every value and make invisible characters visible."""

from __future__ import annotations

import jinja2
import pytest

from keylease.audit.report.template import ENVIRONMENT

NAMES = ENVIRONMENT.get_template("names.html").module


def filled(template, **values):
    """Return a template with values in it."""
    return ENVIRONMENT.from_string(template).render(**values)


def test_text_is_escaped_and_markup_of_a_template_is_not():
    """Only the template's own text is HTML; values are escaped."""
    bold = "{% macro bold(text) %}<b>{{ text }}</b>{% endmacro %}"

    assert "<p>&lt;b&gt;<b>x</b></p>" == filled(
        bold + "<p>{{ text }}{{ bold('x') }}</p>", text="<b>"
    )
    assert "a&amp;b" == filled("{{ text }}", text="a&b")


def test_attributes_are_escaped():
    """A quotation mark in a value does not end the attribute."""
    assert '<td data-label="a&#34;b"></td>' == filled(
        '<td data-label="{{ label }}"></td>', label='a"b'
    )


def test_joining_text_to_markup_makes_text_again():
    """Text joined to markup is escaped when it is used."""
    bold = "{% macro bold() %}<b>{% endmacro %}"

    assert "<b>&lt;i&gt;" == filled(bold + "{{ bold() ~ text }}", text="<i>")


def test_no_character_that_cannot_be_seen_gets_through():
    """Invisible characters and lone surrogates are made visible everywhere on the page."""
    assert r"\x1b[2J\u202e\udcff" == filled("{{ text }}", text="\x1b[2J\u202e\udcff")
    assert r"<p title=\x1b>" == filled("<p title={{ text }}>", text="\x1b")


def test_a_value_that_is_missing_is_an_error():
    """A misspelt name in a template is an error, not a hole in the page."""
    with pytest.raises(jinja2.UndefinedError):
        filled("{{ verdcit }}")


def test_nothing_and_emptiness_are_told_apart():
    """An absent value and an empty one look different."""
    assert "none" in NAMES.name(None)
    assert "empty" in NAMES.name("")
    assert NAMES.name(None) != NAMES.name("none")
