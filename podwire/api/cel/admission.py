"""Expressions of admission: policies' and webhooks' conditions, with what they may refer to.

``Compiler`` compiles expressions that share variables; ``Activation`` holds the values of one
request and a budget, and evaluates them. ``Conditions`` are matchConditions.

Source: Kubernetes' apiserver pkg/admission/plugin/cel (compile.go, activation.go, composition.go),
plugin/webhook/matchconditions, pkg/cel/mutation.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.api.cel.environment import PER_CALL_LIMIT, CompileError, Environment
from podwire.api.cel.evaluator import Program
from podwire.api.cel.functions.authz import AUTHORIZER, RESOURCE, Ask, Authorizer, ResourceCheck
from podwire.api.cel.functions.authz import Question as Asked
from podwire.api.cel.types import (
    BOOL,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    struct,
)
from podwire.api.cel.values import CelError, Duration, EvalError, Structure, Timestamp, type_name
from podwire.api.view import JSON

BUDGET = 10_000_000
"""What the expressions of one policy binding may cost (upstream's RuntimeCELCostBudget)."""

CONDITIONS_BUDGET = 2_500_000
"""What matchConditions may cost (upstream's RuntimeCELCostBudgetMatchConditions)."""

_OUT = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class OutOfBudgetError(Exception):
    """The expressions of one request cost more than they may."""

    def __init__(self) -> None:
        super().__init__(_OUT)


def _struct(name: str, /, **fields: Type) -> Type:
    return struct(f"kubernetes.{name}", {key: Field(key, one) for key, one in fields.items()})


_TEXTS = list_of(STRING)
_LABELS = map_of(STRING, STRING)
_KIND = _struct("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _struct("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _struct(
    "UserInfo", username=STRING, uid=STRING, groups=_TEXTS, extra=map_of(STRING, _TEXTS)
)
_REQUEST = _struct(
    "AdmissionRequest",
    kind=_KIND, resource=_RESOURCE, subResource=STRING, requestKind=_KIND,
    requestResource=_RESOURCE, requestSubResource=STRING, name=STRING, namespace=STRING,
    operation=STRING, userInfo=_USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
_NAMESPACE = _struct(
    "Namespace",
    metadata=_struct(
        "NamespaceMetadata",
        name=STRING, generateName=STRING, namespace=STRING, labels=_LABELS, annotations=_LABELS,
        UID=STRING, creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP, generation=INT, resourceVersion=STRING, finalizers=_TEXTS,
    ),
    spec=_struct("NamespaceSpec", finalizers=_TEXTS),
    status=_struct(
        "NamespaceStatus",
        phase=STRING,
        conditions=list_of(
            _struct(
                "NamespaceCondition",
                status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING,
                reason=STRING,
            )
        ),
    ),
)  # fmt: skip


class _AnyField(Mapping[str, Field]):
    """Fields of a structure that takes any."""

    def __getitem__(self, name: str) -> Field:
        return Field(name, DYN)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Objects(Mapping[str, Type]):
    """What a mutation may make: JSONPatch, Object and whatever is in it."""

    _patch = struct(
        "JSONPatch",
        {
            "op": Field("op", STRING), "path": Field("path", STRING),
            "from": Field("from", STRING), "value": Field("value", DYN),
        },
    )  # fmt: skip
    _fields = _AnyField()

    def __getitem__(self, name: str) -> Type:
        if name == "JSONPatch":
            return self._patch
        if name == "Object" or name.startswith("Object."):
            return struct(name, self._fields)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("JSONPatch", "Object"))

    def __len__(self) -> int:
        return 2


_OBJECTS = _Objects()


MUTATIONS: dict[str, tuple[str, Type]] = {
    "jsonPatch": ("JSONPatch", list_of(struct("JSONPatch", {}))),
    "applyConfiguration": ("ApplyConfiguration", struct("Object", {})),
}
"""Where a mutation's expression stands, its patchType, and the type that it has to give."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled expression; ``error`` is why there is no program."""

    text: str
    program: Program | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one request gives to expressions. ``request`` is made when it is first asked for."""

    object: JSON | None
    old_object: JSON | None
    request: Callable[[], JSON]
    namespace: JSON | None = None
    params: JSON | None = None
    ask: Ask | None = None
    """Decides for ``authorizer`` on behalf of the requesting user."""

    resource: Asked = Asked()  # noqa: RUF009 - frozen
    """What ``authorizer.requestResource`` asks about."""


class Compiler:
    """Compiles the expressions of one policy or configuration.

    ``variables`` are (name, expression) in order; each may use those before it.
    """

    def __init__(
        self,
        *,
        params: bool = False,
        authorizer: bool = True,
        patches: bool = False,
        variables: Sequence[tuple[str, str]] = (),
        object_type: Type = DYN,
        params_type: Type = DYN,
    ) -> None:
        """``object_type`` and ``params_type``: what is known of the objects (``complaint``)."""
        self._declared: dict[str, Type] = {
            "object": object_type, "oldObject": object_type, "namespaceObject": _NAMESPACE,
            "request": _REQUEST,
        }  # fmt: skip
        self._authorizer = authorizer
        self._patches = patches
        if params:
            self._declared["params"] = params_type
        self._fields: dict[str, Field] = {}
        self.variables: dict[str, Expression] = {}
        for name, text in variables:
            made, one = self._compile(text, (), authorizer=authorizer)
            self.variables[name] = made
            self._fields[name] = Field(name, one)

    def compile(self, text: str, *returns: Type, authorizer: bool | None = None) -> Expression:
        """Compile an expression that gives one of some types (any, when none are told).

        ``authorizer``: whether it may ask the authorizer, where that differs from the others.
        """
        may_ask = self._authorizer if authorizer is None else authorizer
        return self._compile(text, returns, authorizer=may_ask)[0]

    def complaint(self, text: str) -> str:
        """What is wrong with an expression, '' for nothing; it may give any type.

        Of the authorizer no shortcut is known here, as upstream's type checker knows none.
        """
        declared = self._seen()
        declared["authorizer"] = AUTHORIZER
        try:
            Environment(declared, {}, self._patches, _PLACES).check(text)
        except CompileError as wrong:
            return str(wrong)
        return ""

    def _seen(self) -> dict[str, Type]:
        return {**self._declared, "variables": struct("kubernetes.variables", dict(self._fields))}

    def _compile(
        self, text: str, returns: tuple[Type, ...], *, authorizer: bool
    ) -> tuple[Expression, Type]:
        declared = self._seen()
        if authorizer:
            declared["authorizer"] = AUTHORIZER
            declared["authorizer.requestResource"] = RESOURCE
        structs: Mapping[str, Type] = _OBJECTS if self._patches else {}
        environment = Environment(declared, structs, self._patches, _PLACES)
        try:
            tree = environment.check(text)
        except CompileError as wrong:
            return Expression(text, None, f"compilation failed: {wrong}"), DYN
        if returns and str(tree.type) not in map(str, returns):
            shown = [str(one) for one in returns]
            wanted = shown[0] if len(shown) == 1 else f"one of [{' '.join(shown)}]"
            why = f"must evaluate to {wanted} but got {_go_name(tree.type)}"
            return Expression(text, None, why), DYN
        try:
            program = environment.program(tree)
        except CelError as wrong:
            return Expression(text, None, f"program instantiation failed: {wrong}"), DYN
        return Expression(text, program), tree.type


_PLACES = (
    "object", "oldObject", "namespaceObject", "request", "params", "variables", "authorizer",
    "authorizer.requestResource",
)  # fmt: skip
"""Every variable, in the order in which an activation gives their values."""


def _go_name(one: Type) -> str:
    return {"null": "null_type", "duration": "google.protobuf.Duration"}.get(one.kind, str(one))


class _Variables(dict[str, Any]):
    """``variables``: computed when an expression asks for one, once."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self._activation = activation
        self._failed: dict[str, CelError] = {}

    def __missing__(self, name: str) -> Any:
        if name in self._failed:
            raise self._failed[name]
        try:
            value = self._activation.compute(name)
        except CelError as wrong:
            self._failed[name] = wrong
            raise
        self[name] = value
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """A variable's value; ``default`` where there is no such variable."""
        return self[name] if name in self._activation.compiler.variables else default


class Activation:
    """The values of one request, and what is left to spend on expressions."""

    def __init__(self, compiler: Compiler, inputs: Inputs, budget: int = BUDGET) -> None:
        self.compiler = compiler
        self.budget = budget
        self._inputs = inputs
        self._variables = _Variables(self)
        self._request: JSON | None = None
        self._values: list[Any] | None = None
        self._extra = 0

    def _given(self) -> list[Any]:
        if self._values is None:
            inputs = self._inputs
            ask = inputs.ask
            self._values = [
                inputs.object, inputs.old_object, inputs.namespace, _Lazy(inputs.request),
                inputs.params, self._variables,
                None if ask is None else Authorizer(ask),
                None if ask is None else ResourceCheck(ask, inputs.resource),
            ]  # fmt: skip
        return self._values

    def compute(self, name: str) -> Any:
        """A variable's value. Raises CelError."""
        expression = self.compiler.variables[name]
        if expression.program is None:
            told = f'composited variable "{name}" fails to compile: {expression.error}'
            raise CelError(told)
        try:
            value, cost = expression.program.evaluate(self._given(), PER_CALL_LIMIT)
        except EvalError as wrong:
            self._extra += wrong.cost
            told = f'composited variable "{name}" fails to evaluate: {wrong}'
            raise CelError(told) from None
        self._extra += cost
        return value

    def evaluate(self, expression: Expression) -> tuple[Any, str]:
        """The value of an expression, or (None, why there is none). Raises OutOfBudgetError."""
        if expression.program is None:
            return None, f"compilation error: {expression.error}"
        wrong, value = "", None
        try:
            value, cost = expression.program.evaluate(self._given(), PER_CALL_LIMIT)
        except EvalError as error:
            cost = error.cost
            wrong = f"expression '{expression.text}' resulted in error: {error}"
        cost += self._extra
        self._extra = 0
        if cost > self.budget:
            self.budget = -1
            raise OutOfBudgetError
        self.budget -= cost
        return value, wrong


class _Lazy(dict[str, Any]):
    """A structure that is made when the first of its fields is asked for."""

    def __init__(self, make: Callable[[], JSON]) -> None:
        super().__init__()
        self._make: Callable[[], JSON] | None = make

    def _fill(self) -> None:
        if self._make is not None:
            self.update(self._make())
            self._make = None

    def __missing__(self, name: str) -> Any:
        if self._make is None:
            raise KeyError(name)
        self._fill()
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or ``default``."""
        self._fill()
        return super().get(name, default)


class Conditions:
    """matchConditions, compiled: of a webhook or of a policy (with its params)."""

    def __init__(
        self, items: Sequence[JSON], *, ignore: bool = False, compiler: Compiler | None = None
    ) -> None:
        """``ignore``: whether a condition that fails means no match, rather than an error."""
        self._compiler = compiler or Compiler()
        self._ignore = ignore
        self._items = [
            (item.get("name", ""), self._compiler.compile(item.get("expression", ""), BOOL))
            for item in items
        ]

    def match(self, inputs: Inputs) -> tuple[bool, str]:
        """Whether a request matches, or (False, why that cannot be said)."""
        if not self._items:
            return True, ""
        activation = Activation(self._compiler, inputs, CONDITIONS_BUDGET)
        wrong: list[str] = []
        for _, expression in self._items:
            try:
                value, error = activation.evaluate(expression)
            except OutOfBudgetError as spent:
                return False, "" if self._ignore else str(spent)
            if error:
                wrong.append(error)
            elif value is False:
                return False, ""
        if not wrong:
            return True, ""
        if self._ignore:
            return False, ""
        return False, wrong[0] if len(wrong) == 1 else f"[{', '.join(dict.fromkeys(wrong))}]"


class ShapeError(ValueError):
    """What a mutation made is no JSON, or not of the type that its place has."""


def plain(value: Any, path: str = "") -> Any:
    """A value that an expression made as JSON; ``path`` is the type that it has to have.

    Raises ShapeError.
    """
    match value:
        case None | bool() | str() | float():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case Duration() | Timestamp():
            return str(value)
        case int():
            return int(value)
        case list():
            return [plain(item, path) for item in value]
        case Structure():
            name = value.type_name
            if path and name != path:
                expected = f'"{path}", which matches field name path from root Object type'
                raise ShapeError(f'unexpected type name "{name}", expected {expected}')
            return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
        case dict():
            return {str(key): plain(item, path) for key, item in value.items()}
    raise ShapeError(f"a value of type {type_name(value)} could not be marshalled to JSON")
