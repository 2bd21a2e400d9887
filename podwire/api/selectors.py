"""Label, field and node selectors: parsing, validation, matching, canonical text.

Source of the behaviour: apimachinery pkg/labels, pkg/fields, meta/v1 helpers and
component-helpers nodeaffinity. Parse errors are ApiError BadRequest with upstream's wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire.api import names
from podwire.api.kinds import Kind
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


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """``field=value``, or ``field!=value``."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        return f"{self.field}{'=' if self.equal else '!='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold on an object's selectable fields."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether an object in JSON form is selected."""
        return all((field_of(obj, r.field) == r.value) is r.equal for r in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered out."""
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The value demanded of ``field``, if any."""
        return next((r.value for r in self.requirements if r.field == field and r.equal), None)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


_META_FIELDS = ("metadata.name", "metadata.namespace")
_SELECTABLE: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicationcontrollers": ("status.replicas",),
    "replicasets.apps": ("status.replicas",),
    "statefulsets.apps": ("status.successful",),
    "jobs.batch": ("status.successful",),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
        "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
        "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
    ),
    "events.events.k8s.io": (
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
        "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "reason",
        "reportingController", "source", "type",
    ),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "clustertrustbundles.certificates.k8s.io": ("spec.signerName",),
    "podcertificaterequests.certificates.k8s.io": (
        "spec.signerName", "spec.podName", "spec.nodeName",
    ),
    "resourceslices.resource.k8s.io": ("spec.nodeName", "spec.driver"),
}  # fmt: skip
"""Beside the metadata. Source: pkg/apis/*/v1/conversion.go (AddFieldLabelConversionFunc)."""
_WITHOUT_NAMESPACE = frozenset((
    "nodes", "namespaces", "resourceslices.resource.k8s.io",
    "certificatesigningrequests.certificates.k8s.io", "clustertrustbundles.certificates.k8s.io",
    "podcertificaterequests.certificates.k8s.io",
))  # fmt: skip
"""Kinds that are selected by metadata.name but not by metadata.namespace."""
_ALIASES = {("pods", "spec.host"): "spec.nodeName"}
_BOOLEANS = frozenset(("spec.hostNetwork", "spec.unschedulable"))
_NUMBERS = frozenset(("status.replicas", "status.successful"))


def selectable_fields(kind: Kind[Any]) -> tuple[str, ...]:
    """The fields by which a kind's collection can be filtered."""
    if kind.custom is not None:
        metadata = _META_FIELDS if kind.namespaced else _META_FIELDS[:1]
        return (*metadata, *kind.custom.selectable)
    own = _SELECTABLE.get(kind.resource, ())
    return (_META_FIELDS[0], *own) if kind.resource in _WITHOUT_NAMESPACE else (*_META_FIELDS, *own)


def field_of(obj: Mapping[str, Any], field: str) -> str:
    """The text of a selectable field, '' when absent, as upstream's field sets hold it."""
    if field == "source":
        source = obj.get("source") or obj.get("deprecatedSource") or {}
        reporter = obj.get("reportingComponent") or obj.get("reportingController")
        return str(source.get("component") or reporter or "")
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if field in _BOOLEANS:
        return "true" if value is True else "false"
    if field in _NUMBERS:
        return str(value or 0)
    if field == "status.podIPs":
        return ",".join(str(ip.get("ip", "")) for ip in value or ())
    return "" if value is None else str(value)


def text_of(obj: Mapping[str, Any], field: str) -> str:
    """The text of a custom object's selectable field, '' when absent."""
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def parse_fields(text: str, kind: Kind[Any]) -> FieldSelector:
    """A field selector string. Raises ApiError BadRequest (syntax, or a field not selectable)."""
    supported = selectable_fields(kind)
    found: dict[FieldRequirement, None] = {}
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        field, operator, value = _split_term(text, term)
        field = _ALIASES.get((kind.resource, field), field)
        if field not in supported:
            raise ApiError("BadRequest", _unsupported(kind, field))
        found[FieldRequirement(field, _unescaped(value), operator != "!=")] = None
    return FieldSelector(tuple(found))


def _unsupported(kind: Kind[Any], field: str) -> str:
    """Each group words it differently; kubectl puts "Unable to find ..." in front."""
    if kind.custom is not None:
        return f"field label not supported: {field}"
    if kind.resource not in _SELECTABLE:
        known = ", ".join(f'"{name}"' for name in _META_FIELDS)
        return f'"{field}" is not a known field selector: only {known}'
    if kind.resource == "jobs.batch":
        return f'field label "{field}" not supported for batchv1.Job'
    if kind.resource == "resourceslices.resource.k8s.io":
        return f"field label not supported for {kind.api_version}, Kind={kind.kind}: {field}"
    if kind.group == "apps":
        return f"field label not supported for {kind.group}{kind.version}.{kind.kind}: {field}"
    return f"field label not supported: {field}"


def _split_terms(text: str) -> Sequence[str]:
    terms: list[str] = []
    start, escaped = 0, False
    for i, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(text[start:i])
            start = i + 1
    terms.append(text[start:])
    return terms


def _split_term(text: str, term: str) -> tuple[str, str, str]:
    for i in range(len(term)):
        for operator in ("!=", "==", "="):
            if term.startswith(operator, i):
                return term[:i], operator, term[i + len(operator) :]
    raise ApiError("BadRequest", f"invalid selector: '{text}'; can't understand '{term}'")


def _unescaped(value: str) -> str:
    found: list[str] = []
    escaped = False
    for char in value:
        if escaped:
            if char not in "\\,=":
                message = f"invalid field selector: invalid escape sequence: \\{char}"
                raise ApiError("BadRequest", message)
            escaped = False
            found.append(char)
        elif char == "\\":
            escaped = True
        elif char in ",=":
            message = f"invalid field selector: unescaped character in value: {ord(char)}"
            raise ApiError("BadRequest", message)
        else:
            found.append(char)
    if escaped:
        raise ApiError("BadRequest", "invalid field selector: invalid escape sequence: \\")
    return "".join(found)
