"""Declarations of functions: what types they take and give, what does the work, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api.cel.types import Type

Work = Callable[..., Any]
Charge = Callable[[tuple[Any, ...], Any], int]
"""What a call has cost: of its arguments (the target first) and its result."""


class Overload:
    """One signature of a function. ``charge`` is a constant or computed."""

    __slots__ = ("args", "charge", "id", "method", "names", "result", "work")

    def __init__(
        self, id: str, args: tuple[Type, ...], result: Type, work: Work, *, method: bool
    ) -> None:
        self.id = id
        self.args = args
        self.result = result
        self.work = work
        self.method = method
        names: dict[str, None] = {}
        for one in (*args, result):
            _names(one, names)
        self.names = tuple(names)
        self.charge: int | Charge = 1


def _names(one: Type, names: dict[str, None]) -> None:
    if one.kind == "param":
        names[one.name] = None
    for inner in one.params:
        _names(inner, names)


FUNCTIONS: dict[str, list[Overload]] = {}
"""Every function by its name; overloads in the order in which they are tried."""


def function(
    name: str, id: str, args: tuple[Type, ...], result: Type, work: Work, charge: int | Charge = 1
) -> None:
    """Declare ``name(args)``."""
    made = Overload(id, args, result, work, method=False)
    made.charge = charge
    FUNCTIONS.setdefault(name, []).append(made)


def method(
    name: str, id: str, args: tuple[Type, ...], result: Type, work: Work, charge: int | Charge = 1
) -> None:
    """Declare ``args[0].name(args[1:])``."""
    made = Overload(id, args, result, work, method=True)
    made.charge = charge
    FUNCTIONS.setdefault(name, []).append(made)
