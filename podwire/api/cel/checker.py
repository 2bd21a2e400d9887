"""Types of every node, overloads of every call, and what does not fit.

Source: cel-go checker/checker.go, cel/validator.go (literals of durations, timestamps, patterns and
aggregates), ext/formatting.go (literal formats); the options of Kubernetes' apiserver
pkg/cel/environment/base.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from podwire.api.cel import literals
from podwire.api.cel.declarations import field_of
from podwire.api.cel.functions.registry import FUNCTIONS, Overload
from podwire.api.cel.syntax import (
    Call,
    Fold,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    Problems,
    Select,
    Struct,
)
from podwire.api.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    Substitution,
    Type,
    is_loose,
    is_optional,
    list_of,
    map_of,
    most_general,
    optional_of,
    param,
    same,
)

_MAX_WEIGHT = 4096
"""How many parts a type may have: they double where a map is made of one variable twice."""

Resolver = Mapping[str, Type]
"""The types of structures that may be made (``Object.spec``), by name."""


class Checker:
    """Checks one tree. ``variables`` are what it may refer to, ``constants`` names of types."""

    def __init__(
        self,
        problems: Problems,
        variables: Mapping[str, Type],
        constants: Mapping[str, Type],
        structs: Resolver,
    ) -> None:
        self._problems = problems
        self._scopes: list[dict[str, Type]] = [dict(variables)]
        self._constants = constants
        self._structs = structs
        self._known = Substitution()
        self._fresh = 0
        self._done: dict[int, Node] = {}
        self.hidden: frozenset[str] = frozenset()
        """Functions that are not there for this expression."""

    def run(self, tree: Node) -> None:
        """Check a tree and fill in its types."""
        self._check(tree)
        for node in self._done.values():
            node.type = self._known.apply(node.type, final=True)
        if not self._problems:
            literals.check(list(self._done.values()), self._problems)

    def _check(self, node: Node) -> Type:
        if id(node) in self._done:
            # macros use one node in two places
            return node.type
        match node:
            case Literal():
                made = node.type
            case Ident():
                made = self._ident(node)
            case Select():
                made = self._select(node)
            case Call():
                made = self._call(node)
            case ListOf():
                made = self._list(node)
            case MapOf():
                made = self._map(node)
            case Struct():
                made = self._struct(node)
            case _:
                assert isinstance(node, Fold)
                made = self._fold(node)
        if made.weight > _MAX_WEIGHT:
            self._problems.add(node.at, "type has too many parts")
            made = ERROR
        node.type = made
        self._done[id(node)] = node
        return made

    def _undeclared(self, node: Node, name: str) -> Type:
        self._problems.add(node.at, f"undeclared reference to '{name}' (in container '')")
        return ERROR

    def _variable(self, name: str) -> Type | None:
        if name.startswith("."):
            return self._scopes[0].get(name[1:])
        for scope in reversed(self._scopes):
            if (found := scope.get(name)) is not None:
                return found
        return None

    def _ident(self, node: Ident) -> Type:
        found = self._variable(node.name)
        if found is not None:
            return found
        constant = self._constants.get(node.name.removeprefix("."))
        if constant is not None:
            node.constant = constant
            return constant
        return self._undeclared(node, node.name)

    def _qualified(self, node: Node) -> str | None:
        """``a.b.c`` as one name, if it is nothing else."""
        parts: list[str] = []
        while isinstance(node, Select) and not node.test:
            parts.append(node.field)
            node = node.operand
        if not isinstance(node, Ident):
            return None
        return ".".join([node.name, *reversed(parts)])

    def _select(self, node: Select) -> Type:
        if not node.test and (name := self._qualified(node)) is not None:
            name = name.removeprefix(".")
            if (declared := self._scopes[0].get(name)) is not None:
                node.variable = name
                return declared
            constant = self._constants.get(name)
            if constant is not None and self._variable(name.split(".", 1)[0]) is None:
                node.constant = constant
                return constant
        made = self._field(node, node.operand, node.field)
        return BOOL if node.test else self._known.apply(made)

    def _field(self, node: Node, operand: Node, name: str, *, optional: bool = False) -> Type:
        source = self._known.apply(self._check(operand))
        inner = source.params[0] if is_optional(source) else source
        match inner.kind:
            case "map":
                made = inner.params[1]
            case "struct":
                field = field_of(inner, name)
                if field is None:
                    self._problems.add(node.at, f"undefined field '{name}'")
                made = ERROR if field is None else field.type
            case "param":
                self._known.assignable(DYN, inner)
                made = DYN
            case _:
                if not is_loose(inner):
                    self._problems.add(node.at, f"type '{inner}' does not support field selection")
                made = DYN
        return optional_of(made) if optional or inner is not source else made

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            field = node.args[1]
            assert isinstance(field, Literal)
            self._done[id(field)] = field
            return self._known.apply(self._field(node, node.args[0], field.value, optional=True))
        if node.target is None:
            for arg in node.args:
                self._check(arg)
            name = node.function.removeprefix(".")
            overloads = FUNCTIONS.get(name)
            if overloads is None:
                return self._undeclared(node, node.function)
            node.function = name
            return self._resolve(node, overloads, method=False)
        for arg in node.args:
            self._check(arg)
        prefix = self._qualified(node.target)
        if prefix is not None:
            name = f"{prefix}.{node.function}"
            if name not in self.hidden and (overloads := FUNCTIONS.get(name)):
                node.function, node.target = name, None
                return self._resolve(node, overloads, method=False)
        self._check(node.target)
        overloads = FUNCTIONS.get(node.function)
        if overloads is None:
            return self._undeclared(node, node.function)
        return self._resolve(node, overloads, method=True)

    def _resolve(self, node: Call, overloads: list[Overload], *, method: bool) -> Type:
        nodes = [node.target, *node.args] if node.target is not None else node.args
        args = tuple(one.type for one in nodes if one is not None)
        if node.function in {"_&&_", "_||_"}:
            return self._logic(node, overloads)
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in overloads:
            if overload.method != method or len(overload.args) != len(args):
                continue
            wanted, gives = self._instance(overload)
            if not self._known.all_assignable(args, wanted):
                continue
            fitting.append(overload)
            gives = self._known.apply(gives)
            if result is None:
                result = gives
            elif result.kind != "dyn" and not same(gives, result):
                result = DYN
        if result is None:
            shown = [str(self._known.apply(one, final=True)) for one in args]
            signature = (
                f"{shown[0]}.({', '.join(shown[1:])})" if method else f"({', '.join(shown)})"
            )
            self._problems.add(
                node.at,
                f"found no matching overload for '{node.function}' applied to '{signature}'",
            )
            return ERROR
        node.overloads = fitting
        return result

    def _logic(self, node: Call, overloads: list[Overload]) -> Type:
        node.overloads = overloads
        wrong = False
        for arg in node.args:
            if not self._known.assignable(arg.type, BOOL):
                shown = self._known.apply(arg.type, final=True)
                self._problems.add(arg.at, f"expected type 'bool' but found '{shown}'")
                wrong = True
        return ERROR if wrong else BOOL

    def _instance(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        """An overload's types with parameters of their own."""
        if not overload.names:
            return overload.args, overload.result
        fresh = Substitution({name: self._new() for name in overload.names})
        return tuple(fresh.apply(one) for one in overload.args), fresh.apply(overload.result)

    def _new(self) -> Type:
        self._fresh += 1
        return param(f"_var{self._fresh - 1}")

    def _element(self, node: Node, *, optional: bool) -> Type:
        made = self._check(node)
        if not optional:
            return made
        made = self._known.apply(made)
        if is_optional(made):
            return made.params[0]
        if made.kind != "dyn":
            self._mismatch(node, optional_of(made), made)
        return made

    def _mismatch(self, node: Node, wanted: Type, found: Type) -> None:
        shown = (self._known.apply(one) for one in (wanted, found))
        self._problems.add(node.at, "expected type '{}' but found '{}'".format(*shown))

    def _joined(self, before: Type | None, now: Type) -> Type:
        if before is None:
            return now
        if self._known.assignable(before, now):
            return most_general(before, now)
        return DYN

    def _list(self, node: ListOf) -> Type:
        items: Type | None = None
        for place, item in enumerate(node.items):
            one = self._element(item, optional=place in node.optional)
            items = self._joined(items, one)
        return list_of(self._new() if items is None else items)

    def _map(self, node: MapOf) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for place, (key, value) in enumerate(node.entries):
            keys = self._joined(keys, self._check(key))
            one = self._element(value, optional=place in node.optional)
            values = self._joined(values, one)
        if keys is None or values is None:
            return map_of(self._new(), self._new())
        return map_of(keys, values)

    def _struct(self, node: Struct) -> Type:
        made = self._structs.get(node.name.removeprefix("."))
        if made is None:
            made = self._undeclared(node, node.name)
        for place, (at, name, value) in enumerate(node.entries):
            found = self._element(value, optional=place in node.optional)
            if made.kind == "error":
                continue
            field = field_of(made, name)
            if field is None:
                self._problems.add(at, f"undefined field '{name}'")
            elif not self._known.assignable(field.type, found):
                self._problems.add(
                    at,
                    f"expected type of field '{name}' is '{field.type}' but provided type "
                    f"is '{self._known.apply(found)}'",
                )
        return made

    def _fold(self, node: Fold) -> Type:
        source = self._known.apply(self._check(node.range))
        accu = self._check(node.init)
        self._scopes.append({node.accu: accu})
        names: dict[str, Type] = {}
        match source.kind:
            case "list":
                first, second = (INT, source.params[0]) if node.var2 else (source.params[0], DYN)
            case "map":
                first, second = source.params
            case "dyn" | "error" | "param":
                self._known.assignable(DYN, source)
                first = second = DYN
            case _:
                self._problems.add(
                    node.range.at,
                    f"expression of type '{source}' cannot be range of a comprehension "
                    "(must be list, map, or dynamic)",
                )
                first = second = ERROR
        names[node.var] = first
        if node.var2:
            names[node.var2] = second
        self._scopes.append(names)
        self._check(node.condition)
        self._check(node.step)
        if not self._known.assignable(accu, node.step.type):
            self._mismatch(node.step, accu, node.step.type)
        self._scopes.pop()
        result = self._check(node.result)
        self._scopes.pop()
        return self._known.apply(result)
