"""What is known to be wrong before an expression runs: literals that no value can be made of.

Source: cel-go cel/validator.go, ext/formatting.go (stringFormatValidator). Errors are told in the
order of the validators, then of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable

from podwire.api import regex
from podwire.api.cel.functions.formatting import ANYTHING, clauses, formatted
from podwire.api.cel.parser import children
from podwire.api.cel.syntax import Call, ListOf, Literal, MapOf, Node, Problems
from podwire.api.cel.types import Type, is_loose, is_optional, optional_of, same
from podwire.api.cel.values import (
    FIRST_SECOND,
    LAST_SECOND,
    CelError,
    Duration,
    Timestamp,
    TypeValue,
    parse_duration,
    parse_timestamp,
)

_EXEMPT = frozenset(("format",))
"""Functions whose lists may hold anything."""


def check(nodes: list[Node], problems: Problems) -> None:
    """Note the literals that cannot be."""
    calls = [node for node in nodes if isinstance(node, Call)]
    for call in calls:
        arg = call.args[0] if call.args else None
        text = arg.value if isinstance(arg, Literal) else None
        if arg is None:
            continue
        if call.function == "timestamp" and not _is_moment(text):
            problems.add(arg.at, "invalid timestamp argument")
        elif call.function == "duration" and isinstance(text, str) and not _is_span(text):
            problems.add(arg.at, "invalid duration argument")
    for call in calls:
        if call.function == "matches":
            _pattern(call.args[-1], problems)
    exempt = {
        id(inner)
        for call in calls
        if call.function in _EXEMPT
        for arg in call.args
        for inner in _within(arg)
    }
    for node in nodes:
        if id(node) not in exempt and isinstance(node, ListOf | MapOf):
            _homogeneous(node, problems)
    for call in calls:
        if call.function == "format" and call.target is not None:
            _format(call, problems)


def _is_moment(value: object) -> bool:
    """Whether a timestamp can be made of a literal; of what is none, nothing is known."""
    if isinstance(value, str):
        return parse_timestamp(value) is not None
    return type(value) is not int or FIRST_SECOND <= value <= LAST_SECOND


def _is_span(text: str) -> bool:
    return parse_duration(text) is not None


def _within(node: Node) -> Iterable[Node]:
    """A node and everything below it."""
    waiting = [node]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += children(one)


def _pattern(arg: Node, problems: Problems) -> None:
    if isinstance(arg, Literal) and isinstance(arg.value, str):
        try:
            regex.compile(arg.value)
        except regex.RegexError:
            problems.add(arg.at, "invalid matches argument")


def _homogeneous(node: ListOf | MapOf, problems: Problems) -> None:
    if isinstance(node, ListOf):
        _alike([(one, place in node.optional) for place, one in enumerate(node.items)], problems)
        return
    _alike([(key, False) for key, _ in node.entries], problems, every=True)
    values = [(one, place in node.optional) for place, (_, one) in enumerate(node.entries)]
    _alike(values, problems, every=True)


def _alike(nodes: list[tuple[Node, bool]], problems: Problems, *, every: bool = False) -> None:
    """Note the first element of another type than the first, or ``every`` such."""
    first: Type | None = None
    for node, optional in nodes:
        found = node.type
        if optional and is_optional(found):
            found = found.params[0]
        if first is None:
            first = found
        elif not (_fits(first, found) or _fits(found, first)):
            wanted, shown = (optional_of(first), found) if optional else (first, found)
            problems.add(node.at, f"expected type '{wanted}' but found '{shown}'")
            if not every:
                return


def _fits(one: Type, other: Type) -> bool:
    if is_loose(one) or is_loose(other):
        return True
    if one.kind == other.kind and one.name == other.name and len(one.params) == len(other.params):
        return same(one, other) or (bool(one.params) and all(map(_fits, one.params, other.params)))
    return False


def _format(call: Call, problems: Problems) -> None:
    """Try a literal format on samples of its arguments' types."""
    target, args = call.target, call.args[0]
    if not isinstance(target, Literal) or not isinstance(args, ListOf):
        return
    samples = [_sample(item) for item in args.items]
    wanted = clauses(target.value)
    try:
        formatted(target.value, samples)
    except CelError as wrong:
        at = call.at
        if "was given" in str(wrong):
            at = args.items[_guilty(target.value, samples)].at
        problems.add(at, str(wrong))
        return
    if len(samples) > wanted:
        told = f"expected {wanted}, got {len(samples)}"
        problems.add(call.at, f"too many arguments supplied to string.format ({told})")


def _guilty(template: str, samples: list[object]) -> int:
    """Which argument is the first that its clause cannot show."""
    for place in range(len(samples)):
        tried = [one if at <= place else ANYTHING for at, one in enumerate(samples)]
        try:
            formatted(template, tried)
        except CelError:
            return place
    return 0


class _Sample:
    """A value of a type that no clause shows."""

    def __init__(self, name: str) -> None:
        self.type_name = name


def _sample(node: Node) -> object:
    if isinstance(node, Literal):
        return node.value
    if node.type.kind in _SAMPLES:
        return _SAMPLES[node.type.kind]
    return ANYTHING if is_loose(node.type) else _Sample(node.type.name)


_SAMPLES: dict[str, object] = {
    "bool": True, "int": 1, "uint": 1, "double": 1.0, "string": "", "bytes": b"", "null": None,
    "duration": Duration(1), "timestamp": Timestamp(0), "list": [], "map": {},
    "type": TypeValue("type"),
}  # fmt: skip
