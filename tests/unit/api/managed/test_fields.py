"""Sets of field paths and their FieldsV1 form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.managed import fields as sets
from podwire.api.managed.fields import FieldsError

ELEMENTS = st.sampled_from(
    ["f:a", "f:b", "f:c.d/e", 'k:{"name":"x"}', 'k:{"port":80}', 'k:{"port":443}', 'v:"x"', "v:1",
     "i:0"]
)  # fmt: skip
PATHS = st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)
PATH_SETS = st.lists(PATHS, max_size=8).map(dict.fromkeys)


def made(paths):
    return sets.of_paths(paths)


def listed(fields):
    return dict.fromkeys(sets.paths(fields))


@given(PATH_SETS, PATH_SETS)
def test_the_trees_are_sets_of_paths(one, two):
    """Union, intersection and difference are those of plain sets of tuples."""
    a, b = made(one), made(two)
    assert listed(a) == one
    assert listed(sets.union(a, b)) == one | two
    assert listed(sets.intersection(a, b)).keys() == one.keys() & two.keys()
    assert listed(sets.difference(a, b)).keys() == one.keys() - two.keys()
    assert sets.contains(a, b) == (two.keys() <= one.keys())
    assert sets.intersects(a, b) == bool(one.keys() & two.keys())


@given(PATH_SETS, PATH_SETS)
def test_a_recursive_difference_takes_the_children_along(one, two):
    """What lies below a removed member goes with it."""
    kept = [p for p in one if not any(p[: len(q)] == q for q in two)]
    assert listed(sets.recursive_difference(made(one), made(two))) == dict.fromkeys(kept)


@given(PATH_SETS)
def test_leaves_are_members_without_members_below(paths):
    """A parent that is a member too is no leaf."""
    inner = [p for p in paths if any(q != p and q[: len(p)] == p for q in paths)]
    assert listed(sets.leaves(made(paths))) == dict.fromkeys(p for p in paths if p not in inner)


@given(PATH_SETS)
def test_fieldsv1_is_read_back_as_it_was_written(paths):
    """Encoding and parsing are inverse; so is reading back what is known to be canonical."""
    one = made(paths)
    text = sets.encode(one)
    assert sets.parse(json.loads(text)) == one == sets.stored(text)


def test_fieldsv1_is_ordered_as_upstream_orders_it():
    """The node itself, fields by name, keys (numbers as numbers), values, indices."""
    one = made([("f:a", element) for element in ("i:0", 'v:"x"', 'k:{"port":443}', "f:z")])
    two = made([("f:a",), ("f:a", 'k:{"port":80}'), ("f:a", "f:b")])
    assert sets.encode(sets.union(one, two)).decode() == (
        '{"f:a":{".":{},"f:b":{},"f:z":{},"k:{\\"port\\":80}":{},"k:{\\"port\\":443}":{},'
        '"v:\\"x\\"":{},"i:0":{}}}'
    )


def test_other_spellings_of_an_element_are_the_same_element():
    """Spaces, the order of keys and escapes do not matter; unknown kinds of elements are dropped.

    So is what no member is below of.
    """
    given_ = {"f:a": {'k:{"protocol": "TCP", "port":80}': {}}, "x:new": {}, "f:b": {"x:new": {}}}
    assert sets.parse(given_) == {"f:a": {'k:{"port":80,"protocol":"TCP"}': {}}, "f:b": {}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"f": {}}, "key must be 2 characters long:"),
        ({"fa": {}}, "missing colon: fa"),
        ({"i:x": {}}, 'strconv.Atoi: parsing "x": invalid syntax'),
        ({"k:[1]": {}}, "is no object"),
        ({"v:{": {}}, "parsing key as path element"),
        ({"f:a": 1}, "expect { or n"),
        (["f:a"], "expect { or n"),
    ],
)
def test_what_is_no_fieldsv1_is_refused(value, why):
    """With the reason."""
    with pytest.raises(FieldsError, match=why.replace("{", r"\{")):
        sets.parse(value)


def test_a_bottomless_set_is_refused():
    """Parsers are bounded."""
    value = {}
    for _ in range(1000):
        value = {"f:a": value}
    with pytest.raises(FieldsError, match="max depth"):
        sets.parse(value)


def test_paths_are_printed_as_conflicts_print_them():
    """Fields with a dot, keys, values and indices in brackets."""
    path = ("f:spec", 'k:{"port":80,"protocol":"TCP"}', 'v:"x"', "i:3", "f:a.b/c")
    assert sets.shown(path) == '.spec[port=80,protocol="TCP"][="x"][3].a.b/c'


def test_html_is_escaped_in_elements_as_go_does():
    """Go's JSON encoder escapes <, > and & in strings."""
    assert sets.by_value("<&>") == 'v:"\\u003c\\u0026\\u003e"'
    assert sets.canonical('k:{"mountPath":"/a&b"}') == sets.by_key([("mountPath", "/a&b")])
