"""Macros: calls that are rewritten while they are parsed.

Source: cel-go parser/macro.go, ext/comprehensions.go (two variables), cel/library.go (optMap,
optFlatMap), ext/lists.go (sortBy).
"""

from __future__ import annotations

from collections.abc import Callable

from podwire.api.cel.syntax import Call, Fold, Ident, ListOf, Literal, MapOf, Node, Select
from podwire.api.cel.types import BOOL, INT

ACCU = "@result"
"""The name of the accumulator; no expression can say it."""

_FORBIDDEN = frozenset((ACCU, "__result__"))
INSERT = "cel.@mapInsert"
SORT = "@sortByAssociatedKeys"


class MacroError(Exception):
    """A macro was given what it cannot take; ``at`` is where."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


def expand(at: int, function: str, target: Node | None, args: list[Node]) -> Node | None:
    """What a call becomes if it is one of a macro, else None. Raises MacroError."""
    if target is None:
        return _has(at, args[0]) if function == "has" and len(args) == 1 else None
    macro = _MACROS.get((function, len(args)))
    return macro(at, function, target, args) if macro else None


def _has(at: int, arg: Node) -> Node:
    if not isinstance(arg, Select):
        raise MacroError(arg.at, "invalid argument to has() macro")
    return Select(at, arg.operand, arg.field, test=True)


def _fold(at: int, target: Node, var: str, var2: str = "") -> Fold:
    return Fold(at, target, var, var2, ACCU)


def _variable(arg: Node, message: str) -> str:
    if not isinstance(arg, Ident) or arg.name.startswith("."):
        raise MacroError(arg.at, message)
    return arg.name


def _checked(arg: Node, message: str) -> str:
    name = _variable(arg, message)
    if name in _FORBIDDEN:
        raise MacroError(arg.at, "iteration variable overwrites accumulator variable")
    return name


def _variables(args: list[Node], count: int, message: str) -> tuple[str, str]:
    if count == 1:
        return _checked(args[0], message), ""
    first, second = (_variable(arg, message) for arg in args[:2])
    if first == second:
        raise MacroError(args[1].at, f"duplicate variable name: {first}")
    return _checked(args[0], message), _checked(args[1], message)


def _quantifier(at: int, function: str, target: Node, args: list[Node]) -> Node:
    count = len(args) - 1
    var, var2 = _variables(args, count, "argument must be a simple name")
    fold = _fold(at, target, var, var2)
    test = args[count]
    accu = Ident(at, ACCU)
    fold.parts = [test]
    fold.result = accu
    if function == "all":
        fold.shape, fold.init = "all", Literal(at, value=True, type=BOOL)
        fold.condition = Call(at, "@not_strictly_false", [accu])
        fold.step = Call(at, "_&&_", [accu, test])
    elif function == "exists":
        fold.shape, fold.init = "exists", Literal(at, value=False, type=BOOL)
        fold.condition = Call(at, "@not_strictly_false", [Call(at, "!_", [accu])])
        fold.step = Call(at, "_||_", [accu, test])
    else:
        fold.shape, fold.init = "exists_one", Literal(at, 0, INT)
        fold.condition = Literal(at, value=True, type=BOOL)
        more = Call(at, "_+_", [accu, Literal(at, 1, INT)])
        fold.step = Call(at, "_?_:_", [test, more, accu])
        fold.result = Call(at, "_==_", [accu, Literal(at, 1, INT)])
    return fold


def _collect(fold: Fold, test: Node | None, item: Node) -> Fold:
    """Make a fold that collects ``item`` (where ``test`` holds) in a list."""
    at = fold.at
    accu = Ident(at, ACCU)
    fold.shape, fold.init, fold.result = "list", ListOf(at, []), accu
    fold.condition = Literal(at, value=True, type=BOOL)
    fold.step = Call(at, "_+_", [accu, ListOf(at, [item])])
    if test is not None:
        fold.step = Call(at, "_?_:_", [test, fold.step, accu])
    fold.parts = [item] if test is None else [item, test]
    return fold


def _map(at: int, function: str, target: Node, args: list[Node]) -> Node:
    var, _ = _variables(args, 1, "argument is not an identifier")
    fold = _fold(at, target, var)
    if function == "filter":
        return _collect(fold, args[1], Ident(args[0].at, var))
    return _collect(fold, args[1] if len(args) == 3 else None, args[-1])


def _transform_list(at: int, _: str, target: Node, args: list[Node]) -> Node:
    fold = _fold(at, target, *_variables(args, 2, "argument must be a simple name"))
    return _collect(fold, args[2] if len(args) == 4 else None, args[-1])


def _transform_map(at: int, function: str, target: Node, args: list[Node]) -> Node:
    var, var2 = _variables(args, 2, "argument must be a simple name")
    fold = _fold(at, target, var, var2)
    accu, made = Ident(at, ACCU), args[-1]
    whole = function == "transformMapEntry"
    fold.shape, fold.init, fold.result = "entries" if whole else "map", MapOf(at, []), accu
    fold.condition = Literal(at, value=True, type=BOOL)
    fold.step = Call(at, INSERT, [accu, made] if whole else [accu, Ident(at, var), made])
    fold.parts = [made]
    if len(args) == 4:
        fold.step = Call(at, "_?_:_", [args[2], fold.step, accu])
        fold.parts.append(args[2])
    return fold


def bind(at: int, name: str, value: Node, result: Node) -> Fold:
    """``result`` with ``name`` standing for ``value``."""
    fold = Fold(at, ListOf(at, []), "#unused", "", name)
    fold.shape, fold.init = "bind", value
    fold.condition = Literal(at, value=False, type=BOOL)
    fold.step, fold.result = Ident(at, name), result
    fold.parts = [value, result]
    return fold


def _optional_map(at: int, function: str, target: Node, args: list[Node]) -> Node:
    name = _variable(args[0], f"{function}() variable name must be a simple identifier")
    made: Node = bind(at, name, Call(at, "value", [], target), args[1])
    if function == "optMap":
        made = Call(at, "optional.of", [made])
    test = Call(at, "hasValue", [], target)
    return Call(at, "_?_:_", [test, made, Call(at, "optional.none", [])])


def _sort_by(at: int, _: str, target: Node, args: list[Node]) -> Node:
    """``list.sortBy(x, key)``: the keys are computed first, then the list is sorted by them."""
    if not isinstance(target, Ident | Select | ListOf | Fold | Call):
        what = "sortBy can only be applied to a list, identifier, comprehension, call or select"
        raise MacroError(target.at, f"{what} expression")
    name = _checked(args[0], "sortBy variable name must be a simple identifier")
    source = "@__sortBy_input__"
    keys = _collect(_fold(at, Ident(at, source), name), None, args[1])
    return bind(at, source, target, Call(at, SORT, [keys], Ident(at, source)))


_Macro = Callable[[int, str, Node, list[Node]], Node]
_MACROS: dict[tuple[str, int], _Macro] = {
    **{(name, 2): _quantifier for name in ("all", "exists", "exists_one", "existsOne")},
    **{(name, 3): _quantifier for name in ("all", "exists", "exists_one", "existsOne")},
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _map,
    ("transformList", 3): _transform_list,
    ("transformList", 4): _transform_list,
    **{
        (name, count): _transform_map
        for name in ("transformMap", "transformMapEntry")
        for count in (3, 4)
    },
    ("optMap", 2): _optional_map,
    ("optFlatMap", 2): _optional_map,
    ("sortBy", 2): _sort_by,
}
