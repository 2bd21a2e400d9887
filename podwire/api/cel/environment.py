"""From text to something that can be evaluated: the one way to compile an expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podwire.api.cel import parser
from podwire.api.cel.checker import Checker
from podwire.api.cel.evaluator import Program, compile_tree
from podwire.api.cel.functions.authz import AUTHORIZER, DECISION, GROUP, PATH, RESOURCE
from podwire.api.cel.functions.formats import FORMAT
from podwire.api.cel.functions.network import CIDR, IP, URL
from podwire.api.cel.functions.numbers import QUANTITY, SEMVER
from podwire.api.cel.syntax import Node, Problems, room
from podwire.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    optional_of,
    type_of,
)

PER_CALL_LIMIT = 1_000_000
"""What one evaluation may cost (upstream's celconfig.PerCallLimit, about a tenth of a second)."""

_PATCHES = frozenset(("jsonpatch.escapeKey",))
_KUBERNETES = (AUTHORIZER, PATH, GROUP, RESOURCE, DECISION, FORMAT, CIDR, IP, URL, QUANTITY, SEMVER)
_CONSTANTS: Mapping[str, Type] = {
    **{one.name: type_of(one) for one in (BOOL, BYTES, DOUBLE, INT, STRING, UINT, *_KUBERNETES)},
    "null_type": type_of(NULL),
    "list": type_of(list_of(DYN)),
    "map": type_of(map_of(DYN, DYN)),
    "type": type_of(type_of(DYN)),
    "dyn": type_of(DYN),
    "optional_type": type_of(optional_of(DYN)),
    "google.protobuf.Timestamp": type_of(TIMESTAMP),
    "google.protobuf.Duration": type_of(DURATION),
}


class CompileError(ValueError):
    """The expression is wrong; the message points to every mistake, as cel-go prints them."""


@dataclass(frozen=True)
class Environment:
    """What an expression may refer to.

    ``variables`` are types by name, in the order in which values are given to a program;
    ``structs`` the types of structures that it may make.
    """

    variables: Mapping[str, Type]
    structs: Mapping[str, Type] = field(default_factory=dict)
    patches: bool = False
    """Whether the functions of JSON patches are there: in mutating policies only."""

    order: tuple[str, ...] = ()
    """The order in which values are given, where it is not that of ``variables``; it may have more
    names than are declared.
    """

    def check(self, text: str) -> Node:
        """The tree of a text with every type known. Raises CompileError."""
        problems = Problems(text)
        with room():
            tree = parser.parse(text, problems)
            if tree is not None:
                checker = Checker(problems, self.variables, _CONSTANTS, self.structs)
                checker.hidden = frozenset() if self.patches else _PATCHES
                checker.run(tree)
        if tree is None or problems:
            raise CompileError(problems.show())
        return tree

    def program(self, tree: Node) -> Program:
        """What evaluates a checked tree."""
        with room():
            return compile_tree(tree, self.order or tuple(self.variables))

    def compile(self, text: str) -> Program:
        """``program`` of ``check``. Raises CompileError."""
        return self.program(self.check(text))
