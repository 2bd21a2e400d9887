"""Label and node selectors: parsing, validation, matching, canonical text.

Source of the behaviour: apimachinery pkg/labels, meta/v1 helpers and component-helpers
nodeaffinity. Parse errors are ApiError BadRequest with upstream's wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podwire.api import names
from podwire.api.status import ApiError
from podwire.api.views import LabelSelector, NodeSelector, NodeSelectorTerm, SelectorRequirement

IN, NOT_IN, EXISTS, NOT_EXISTS, GT, LT = "in", "notin", "exists", "!", ">", "<"
_INTEGER_MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Requirement:
    """One test of one label: ``operator`` is in, notin, exists, !, > or <."""

    key: str
    operator: str
    values: tuple[str, ...] = ()
    sign: str = ""
    """How an in/notin with one value was written: ``=``, ``==``, ``!=`` or '' (set form)."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels pass this test."""
        value = labels.get(self.key)
        operator = self.operator
        if operator == IN:
            return value is not None and value in self.values
        if operator == NOT_IN:
            return value is None or value not in self.values
        if operator == EXISTS:
            return value is not None
        if operator == NOT_EXISTS:
            return value is None
        if value is None:
            return False
        left, right = _integer(value), _integer(self.values[0])
        if left is None or right is None:
            return False
        return left > right if operator == GT else left < right

    def __str__(self) -> str:
        if self.operator == NOT_EXISTS:
            return f"!{self.key}"
        if self.operator == EXISTS:
            return self.key
        if self.sign or self.operator in {GT, LT}:
            return f"{self.key}{self.sign or self.operator}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements must hold; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    _pairs: tuple[tuple[str, str], ...] | None = field(init=False, repr=False, compare=False)
    """The labels that are demanded, where nothing else is: nearly always."""

    def __post_init__(self) -> None:
        pairs: list[tuple[str, str]] | None = None if self.nothing else []
        for requirement in self.requirements:
            if requirement.operator != IN or len(requirement.values) != 1:
                pairs = None
            if pairs is None:
                break
            pairs.append((requirement.key, requirement.values[0]))
        object.__setattr__(self, "_pairs", None if pairs is None else tuple(pairs))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels are selected."""
        if self._pairs is not None:
            for key, value in self._pairs:  # noqa: SIM110  as below
                if labels.get(key) != value:
                    return False
            return True
        if self.nothing:
            return False
        for requirement in self.requirements:  # noqa: SIM110  a generator costs more than the tests
            if not requirement.matches(labels):
                return False
        return True

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered out."""
        return not self.nothing and not self.requirements

    def exact(self, key: str) -> str | None:
        """The only value that ``key`` may have, if the selector demands one."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator == IN:
                return requirement.values[0] if len(requirement.values) == 1 else None
        return None

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def _integer(text: str) -> int | None:
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > _INTEGER_MAX_DIGITS:
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


class _ParseError(ValueError):
    """A parse error before it is wrapped as BadRequest."""


_SYMBOLS = frozenset("=!(),><")
_OPERATORS = ("==", "!=", "=", "!", "(", ")", ",", ">", "<")
_BINARY = {"=": IN, "==": IN, "!=": NOT_IN, "in": IN, "notin": NOT_IN, ">": GT, "<": LT}
_EXPECTED_OPERATORS = "in, notin, =, ==, !=, >, <"


def _tokens(text: str) -> list[str]:
    """Words and symbols; the empty string marks the end."""
    found: list[str] = []
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char in " \t\r\n":
            at += 1
        elif char in _SYMBOLS:
            symbol = next(s for s in _OPERATORS if text.startswith(s, at))
            found.append(symbol)
            at += len(symbol)
        else:
            start = at
            while at < end and text[at] not in _SYMBOLS and text[at] not in " \t\r\n":
                at += 1
            found.append(text[start:at])
    found.append("")
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    @staticmethod
    def _is_word(word: str) -> bool:
        return word != "" and word not in _OPERATORS

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._peek() == "":
            return found
        while True:
            word = self._peek()
            if word != "!" and not self._is_word(word):
                if not found:
                    raise _ParseError(
                        f"found '{word}', expected: !, identifier, or 'end of string'"
                    )
                raise _ParseError(f"found '{word}', expected: identifier after ','")
            try:
                found.append(self._requirement())
            except _ParseError as error:
                raise _ParseError(f"unable to parse requirement: {error}") from None
            word = self._next()
            if word == "":
                return found
            if word != ",":
                raise _ParseError(f"found '{word}', expected: ',' or 'end of string'")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not self._is_word(key):
            raise _ParseError(f"found '{key}', expected: identifier")
        complaints = names.label_key(key)
        if complaints:
            raise _ParseError(f'<nil>: Invalid value: "{key}": {"; ".join(complaints)}')
        if negated:
            return Requirement(key, NOT_EXISTS)
        if self._peek() in {"", ","}:
            return Requirement(key, EXISTS)
        written = self._next()
        operator = _BINARY.get(written)
        if operator is None:
            raise _ParseError(f"found '{written}', expected: {_EXPECTED_OPERATORS}")
        is_set = written in {"in", "notin"}
        values = self._values() if is_set else (self._exact_value(),)
        for i, value in enumerate(values):
            complaints = names.label_value(value)
            if complaints:
                why = "; ".join(complaints)
                raise _ParseError(f'values[{i}][{key}]: Invalid value: "{value}": {why}')
            if operator in {GT, LT} and _integer(value) is None:
                why = "for 'Gt', 'Lt' operators, the value must be an integer"
                raise _ParseError(f'values[{i}]: Invalid value: "{value}": {why}')
        sign = "" if is_set or operator in {GT, LT} else written
        return Requirement(key, operator, values, sign)

    def _exact_value(self) -> str:
        if self._peek() in {"", ","}:
            return ""
        word = self._next()
        if not self._is_word(word):
            raise _ParseError(f"found '{word}', expected: identifier")
        return word

    def _values(self) -> tuple[str, ...]:
        """``(a, b, ...)``; an item may be empty."""
        word = self._next()
        if word != "(":
            raise _ParseError(f"found '{word}' expected: '('")
        found: dict[str, None] = {}
        item = ""
        while True:
            word = self._next()
            if word == ")":
                found[item] = None
                return tuple(sorted(found))
            if word == ",":
                found[item] = None
                item = ""
            elif self._is_word(word) and not item:
                item = word
            else:
                raise _ParseError(f"found '{word}', expected: ',' or ')'")


def parse(text: str) -> Selector:
    """A label selector string (``a=b,c in (x,y),!d``). Raises ApiError BadRequest."""
    if not text:
        return EVERYTHING
    try:
        found = _Parser(text).parse()
    except _ParseError as error:
        raise ApiError("BadRequest", str(error)) from None
    return Selector(tuple(sorted(found, key=lambda requirement: requirement.key)))


_VIEW_OPERATORS = {
    "In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": NOT_EXISTS, "Gt": GT, "Lt": LT,
}  # fmt: skip


def _from_expression(expression: SelectorRequirement) -> Requirement:
    operator = _VIEW_OPERATORS.get(expression.operator)
    if operator is None:
        message = f'"{expression.operator}" is not a valid label selector operator'
        raise ApiError("BadRequest", message)
    if operator in {GT, LT} and len(expression.values) != 1:
        message = "for 'Gt', 'Lt' operators, exactly one value is required"
        raise ApiError("BadRequest", message)
    return Requirement(expression.key, operator, tuple(expression.values))


def compile(selector: LabelSelector | None) -> Selector:  # noqa: A001 - as re.compile
    """The matcher of a LabelSelector; None selects nothing, an empty one everything.

    Raises ApiError BadRequest for an unknown operator.
    """
    if selector is None:
        return NOTHING
    found = [Requirement(k, IN, (v,), "=") for k, v in selector.match_labels.items()]
    found += [_from_expression(expression) for expression in selector.match_expressions]
    return Selector(tuple(sorted(found, key=lambda requirement: requirement.key)))


def from_json(selector: Mapping[str, Any] | None) -> Selector:
    """``compile`` for a LabelSelector still in JSON form."""
    if selector is None:
        return NOTHING
    expressions = [
        SelectorRequirement(
            key=e.get("key", ""), operator=e.get("operator", ""), values=e.get("values") or []
        )
        for e in selector.get("matchExpressions") or ()
    ]
    labels = selector.get("matchLabels") or {}
    return compile(LabelSelector(match_labels=labels, match_expressions=expressions))


def node_term_matches(
    term: NodeSelectorTerm, labels: Mapping[str, str], fields: Mapping[str, str]
) -> bool:
    """Whether a node's labels and fields (``metadata.name``) satisfy one term.

    An empty term matches no node, as upstream decides.
    """
    if not term.match_expressions and not term.match_fields:
        return False
    on_labels = (_from_expression(e).matches(labels) for e in term.match_expressions)
    on_fields = (_from_expression(e).matches(fields) for e in term.match_fields)
    return all(on_labels) and all(on_fields)


def node_selector_matches(
    selector: NodeSelector, labels: Mapping[str, str], fields: Mapping[str, str]
) -> bool:
    """Whether any term of a node selector matches (terms are ORed)."""
    return any(node_term_matches(t, labels, fields) for t in selector.node_selector_terms)
