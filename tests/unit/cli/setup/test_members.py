"""One member of a JSON text is set or taken out, and the rest stays as it was typed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.cli.setup.members import put, take

ODD = '{ "a":1.0,\n\n\t"b" : [1,\n2], "c": {"x":{}, "y": "}"},"c2":"\\u00e9{" }\n'


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("{}", ["k"], '{\n\t"k": "v"\n}'),
        ('{\n  "a": 1\n}\n', ["k"], '{\n  "k": "v",\n  "a": 1\n}\n'),
        ('{"a":1}', ["k"], '{"k": "v","a":1}'),
        ('{"k":1, "a":1}', ["k"], '{"k":"v", "a":1}'),
        ('{"k":1, "k":2}', ["k"], '{"k":1, "k":"v"}'),
        ('{"a": {"b": 1}}', ["a", "k"], '{"a": {"k": "v","b": 1}}'),
        ("{ }", ["a", "k"], '{\n\t"a": {"k": "v"}\n}'),
    ],
)
def test_value_is_put_where_it_belongs(text, path, expected):
    """Beside its neighbours, as they stand; what is there is replaced."""
    assert expected == put(text, path, "v")


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('{"k": 1}', ["k"], "{}"),
        ('{\n  "k": 1,\n  "a": 1\n}\n', ["k"], '{\n  "a": 1\n}\n'),
        ('{\n  "a": 1,\n  "k": 1\n}\n', ["k"], '{\n  "a": 1\n}\n'),
        ('{"k":1,"a":2,"k":3}', ["k"], '{"a":2}'),
        ('{"a":2,"k":1,"k":3}', ["k"], '{"a":2}'),
        ('{"a": {"k": 1}}', ["a", "k"], '{"a": {}}'),
    ],
)
def test_value_is_taken_with_its_comma(text, path, expected):
    """The other members stay as they were."""
    assert expected == take(text, path)


def test_an_odd_text_stays_as_it_is():
    """Numbers, blanks, escapes and braces in strings stay as they are."""
    there = put(ODD, ["c", "k"], "v")

    assert ODD.replace('{"x":{}', '{"k": "v","x":{}') == there
    assert ODD == take(there, ["c", "k"])


_NAMES = st.sampled_from(["a", "k", "m", '"', "{"])
_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(_NAMES, _VALUES, max_size=4)
_INDENTS = st.sampled_from([None, 1, "\t"])


@given(document=_OBJECTS, name=_NAMES, indent=_INDENTS)
def test_it_means_what_the_same_change_of_the_object_means(document, name, indent):
    """The text says what a program would make of it, and without the change what it said."""
    text = json.dumps(document, indent=indent)
    there = put(text, [name], "v")

    assert document | {name: "v"} == json.loads(there)
    assert {k: v for k, v in document.items() if k != name} == json.loads(take(there, [name]))
