"""No text and no value makes CEL do anything but answer: within its limits, in time."""

from __future__ import annotations

import celpy
import celpy.adapter
import celpy.celparser
import celpy.evaluation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api.cel.environment import PER_CALL_LIMIT, CompileError, Environment
from podwire.api.cel.types import DYN
from podwire.api.cel.values import EvalError
from tests.rotation import examples

ENVIRONMENT = Environment({"self": DYN, "oldSelf": DYN})

WORDS = st.sampled_from(
    [
        "self", "oldSelf", "x", "has(", ")", "(", "[", "]", "{", "}", ".", ",", ":", "?", "&&",
        "||", "!", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", " in ", "all(x,", "map(x,",
        "exists(i, v,", "size(", "1", "2u", "1.5", "'a'", "b'\\xff'", "r'\\d'", "null", "true",
        "duration('1h')", "timestamp('2020-01-01T00:00:00Z')", ".?a", "[?0]", "'%s'.format([",
        "optional.of(", "matches('(a+)+$')", "quantity('1k')", "ip('::1')", "sum()", "join('-')",
        "type(", "dyn(", "string(", "int(", "é", "\n", "`", "\\", "//", "optMap(x,", "sortBy(x,",
        "lists.range(", "flatten()", "distinct()", "sets.contains(", "semver('1.2.3')",
    ]
)  # fmt: skip

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["a", "b", "x"]), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip

EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["self", "self.a", "oldSelf", "1", "2.5", "'a'", "true", "null", "[1, 2]", "{'a': 1}"]
    ),
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} == {})".format, inner, inner),
        st.builds("({} < {})".format, inner, inner),
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("dyn({}).all(x, x == {})".format, inner, inner),
        st.builds("dyn({}).map(x, {})".format, inner, inner),
        st.builds("dyn({}).exists(i, v, v == {})".format, inner, inner),
        st.builds("dyn({})[{}]".format, inner, inner),
        st.builds("dyn({}).?a.orValue({})".format, inner, inner),
        st.builds("dyn({}).max()".format, inner),
        st.builds("dyn({}).join({})".format, inner, inner),
        st.builds("size(dyn({}))".format, inner),
        st.builds("'%s %d'.format([{}, {}])".format, inner, inner),
        st.builds("string(dyn({}))".format, inner),
        st.builds("({} in dyn({}))".format, inner, inner),
    ),
    max_leaves=12,
)


def answer(text, values, limit=PER_CALL_LIMIT):
    """What an expression gives; anything but the three errors it may end with is a defect."""
    try:
        return ENVIRONMENT.compile(text).evaluate(values, limit)
    except (CompileError, EvalError) as error:
        return error


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(WORDS, max_size=20).map("".join) | st.text(max_size=40))
def test_any_text_compiles_or_is_refused(text):
    """Whatever is written, the answer is a program or where the mistake is."""
    answer(text, [{"a": [1, "x"]}, None])


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS, VALUES, VALUES)
def test_any_expression_takes_any_values(text, new, old):
    """Whatever the values are, the answer is a value or an error of CEL's own."""
    answer(text, [new, old])


def test_what_costs_too_much_is_stopped_before_it_takes_long():
    """Loops in loops, doubling lists, deep bindings: the limit ends them."""
    many = list(range(1000))
    loops = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"
    doubling = "[1]" + "".join(".map(x, [x, x])" for _ in range(3)) + ".flatten()"
    bound = "optional.of(1)" + ".optMap(x, x + 1)" * 60
    for text in (loops, "lists.range(100000000).size() > 0", bound, "self.distinct().size() > 0"):
        assert "cost limit exceeded" in str(answer(text, [many * 2, None], 50_000)), text
    assert not isinstance(answer(doubling, [many, None]), EvalError)


def test_patterns_take_time_that_grows_with_the_text_only():
    """A pattern that a backtracking engine would take years for is answered."""
    value, _ = answer("self.matches('^(a+)+$')", ["a" * 5000 + "!", None])
    assert value is False


def test_another_cel_has_the_same_values():
    """What cel-python can evaluate it evaluates alike: the core of the language."""
    cases = [
        "1 + 2 * 3 - 4 / 2 % 3", "'a' + 'b' == 'ab'", "[1, 2].map(x, x * 2) == [2, 4]",
        "self.a.filter(x, x > 1).size() == 2", "self.a.exists_one(x, x == 2)",
        "has(self.b) || !has(self.c)", "self.a.all(x, x > 0) ? 'yes' : 'no'", "2 in self.a",
        "{'k': 1}.k == 1", "'hello'.startsWith('he') && 'hello'.endsWith('lo')",
        "size('héllo') == 5", "duration('90m') == duration('1h30m')", "-7 / 2 == -3",
        "-7 % 2 == -1",
        "timestamp('2020-01-01T00:00:00Z').getFullYear() == 2020", "'abc'.matches('^a.c$')",
        "1.0 / 2.0 == 0.5", "int('12') + int(3.9) == 15", "type(self.a) == list",
    ]  # fmt: skip
    value = {"a": [1, 2, 3], "b": "x"}
    theirs = celpy.Environment()
    for text in cases:
        program = theirs.program(theirs.compile(text))
        wanted = program.evaluate({"self": celpy.adapter.json_to_cel(value)})
        got, _ = answer(text, [value, None])
        assert got == wanted, text
