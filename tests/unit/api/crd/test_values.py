"""Values against schemas: junctors, formats, ratcheting, nulls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.crd.coercion import coerced, fill
from podwire.api.crd.formats import CHECKS, check_of
from podwire.api.crd.nodes import Node, root
from podwire.api.crd.values import Check, go_number


def told(schema, value, old=None):
    found = Check(schema).run(value) if old is None else Check(schema).run(value, "", old)
    return [f"{cause.field}: {cause.message}" for cause in found.causes()]


ALTERNATIVES = [{"required": ["a"]}, {"required": ["b"]}]


def test_of_alternatives_one_must_hold():
    """oneOf, anyOf, allOf and not, in upstream's words."""
    assert told({"type": "object", "oneOf": ALTERNATIVES}, {"a": 1}) == []
    only = '<nil>: Invalid value: "": "" must validate one and only one schema (oneOf). Found '
    assert told({"type": "object", "oneOf": ALTERNATIVES}, {}) == [
        f"{only}none valid",
        "a: Required value",
    ]
    assert told({"type": "object", "oneOf": ALTERNATIVES}, {"a": 1, "b": 1}) == [
        f"{only}2 valid alternatives"
    ]
    assert told({"type": "object", "anyOf": ALTERNATIVES}, {})[0] == (
        '<nil>: Invalid value: "": "" must validate at least one schema (anyOf)'
    )
    assert told({"type": "object", "not": {"required": ["a"]}}, {"a": 1}) == [
        '<nil>: Invalid value: "": "" must not validate the schema (not)'
    ]


def test_what_an_equal_old_value_had_wrong_is_forgiven():
    """Of lists only those whose items have keys can be compared."""
    item = {"type": "object", "properties": {"n": {"type": "string", "maxLength": 1}}}
    atomic = {"type": "object", "properties": {"l": {"type": "array", "items": item}}}
    keyed = {
        "type": "object",
        "properties": {
            "l": {
                "type": "array", "items": item, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"],
            }
        },
    }  # fmt: skip
    old, new = {"l": [{"n": "long"}]}, {"l": [{"n": "long"}, {"n": "x"}]}
    assert told(atomic, new, old) == ["l[0].n: Too long: may not be more than 1 byte"]
    assert told(keyed, new, old) == []
    assert told(atomic, old, old) == []


FORMATS = {
    "date-time": (["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+01:00"], ["2014-12-15", "x"]),
    "date": (["2006-01-02"], ["2006-13-02", "6-1-2"]),
    "duration": (["22 ns", "1h30m", "3 days", "0"], ["soon", ""]),
    "ipv4": (["10.0.0.1"], ["::1", "10.0.0"]),
    "ipv6": (["::1"], ["10.0.0.1"]),
    "cidr": (["10.0.0.0/8", "::/0"], ["10.0.0.0", "10.0.0.0/33"]),
    "mac": (["00:11:22:33:44:55", "0011.2233.4455"], ["00:11", "zz:11:22:33:44:55"]),
    "uuid": (["B8DF57D3-4D0C-4F3C-9A5C-9F6C6C1F0A11"], ["x"]),
    "uri": (["https://example.com/a?b#c", "/a", "mailto:x@y"], ["a b", "", "://x"]),
    "email": (["a@example.com"], ["a", "@b"]),
    "hostname": (["example.com", "a-b.example.org"], ["-a-.com", "a_b"]),
    "byte": (["aGk="], ["a"]),
    "k8s-short-name": (["a-1"], ["A", "a" * 64]),
    "hexcolor": (["#fff", "00ff00"], ["#ff"]),
    "isbn": (["0321751043", "978-0321751041"], ["0321751044"]),
}


@pytest.mark.parametrize("format", FORMATS)
def test_formats_are_checked_as_upstream_checks_them(format):
    good, bad = FORMATS[format]
    check = check_of(format)
    assert [check(text) for text in good] == [True] * len(good)
    assert [check(text) for text in bad] == [False] * len(bad)


@given(st.sampled_from(sorted(CHECKS)), st.text(max_size=40))
def test_no_text_upsets_a_format(name, text):
    assert CHECKS[name](text) in {True, False}


def test_nulls_go_unless_they_are_allowed():
    """Where a default waits it takes the place."""
    node = root({
        "type": "object",
        "properties": {
            "gone": {"type": "string"}, "kept": {"type": "string", "nullable": True},
            "filled": {"type": "string", "default": "x"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    })  # fmt: skip
    given_ = {"gone": None, "kept": None, "filled": None, "free": {"any": None}}
    found, unknown = coerced(given_, node)
    fill(found, node)
    assert (found, unknown) == ({"kept": None, "filled": "x", "free": {"any": None}}, [])


SCHEMAS = st.recursive(
    st.sampled_from([
        {"type": "string"}, {"type": "integer", "default": 1}, {"type": "boolean"},
        {"x-kubernetes-int-or-string": True}, {"type": "string", "nullable": True},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "additionalProperties": True},
    ]),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda p: {"type": "object", "properties": p}
        ),
        inner.map(lambda i: {"type": "array", "items": i}),
        inner.map(lambda i: {"type": "object", "additionalProperties": i}),
    ),
    max_leaves=8,
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("ab")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(SCHEMAS, st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4))
def test_coercion_settles_whatever_is_given(schema, value):
    """Twice is once; the input is left alone; what is left can be checked."""
    whole = {"type": "object", "properties": {"a": schema, "b": schema}}
    node = root(whole)
    before = repr(value)
    once, _ = coerced(value, node)
    assert repr(value) == before
    fill(once, node)
    twice, unknown = coerced(once, node)
    assert unknown == []
    assert not fill(twice, node)
    assert twice == once
    Check(whole).run(once, "", value)


def test_a_schema_says_what_lies_below_it():
    """So that walks need not go where nothing is."""
    unique = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    node = Node({"type": "object", "properties": {"a": {"type": "object"}, "b": unique}})
    assert (node.unique, node.properties["a"].unique, node.embeds, node.fills) == (
        True, False, False, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1"), (0.5, "0.5"), (1e6, "1e+06"), (123456.75, "123456.75"), (1e-5, "1e-05")],
)
def test_floats_are_shown_as_go_shows_them(number, text):
    assert go_number(number) == text
