"""Types of CEL as the checker sees them, and what rules about costs need to know of them.

Source: cel-go common/types/types.go, checker/types.go and checker/format.go; sizes: Kubernetes'
apiserver pkg/cel/types.go (DeclType).
"""

from __future__ import annotations

from collections.abc import Mapping

UNBOUNDED = (1 << 64) - 1
"""Where upstream has no limit it has the largest 64-bit number."""


class Type:
    """A type. ``kind`` is the sort, ``name`` what errors print, ``params`` its parameters.

    Types that come from a schema also have ``fields`` (of an object, by escaped name), and for the
    estimate of costs ``max_elements`` (characters, items or entries) and ``min_size_bytes`` (of the
    serialized value); ``merge`` is ``set`` or ``map`` for lists that compare without order.
    """

    __slots__ = (
        "fields", "keys", "kind", "max_elements", "merge", "min_size_bytes", "name", "params",
        "weight",
    )  # fmt: skip

    weight: int
    """How many parts it has, its own included."""

    def __init__(
        self,
        kind: str,
        name: str,
        params: tuple[Type, ...] = (),
        *,
        fields: Mapping[str, Field] | None = None,
        max_elements: int = 0,
        min_size_bytes: int = 0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.params = params
        self.fields = fields
        self.max_elements = max_elements
        self.min_size_bytes = min_size_bytes
        self.merge = ""
        self.keys: tuple[str, ...] = ()
        self.weight = 1 + sum(one.weight for one in params)

    def __str__(self) -> str:
        if self.kind == "param" or not self.params:
            return self.name
        return f"{self.name}({', '.join(map(str, self.params))})"


class Field:
    """One field of an object: the name in JSON and the type of its value."""

    __slots__ = ("json", "type")

    def __init__(self, json: str, type: Type) -> None:
        self.json = json
        self.type = type


BOOL = Type("bool", "bool", min_size_bytes=4)
INT = Type("int", "int", min_size_bytes=1)
UINT = Type("uint", "uint", min_size_bytes=1)
DOUBLE = Type("double", "double", min_size_bytes=1)
STRING = Type("string", "string", min_size_bytes=2)
BYTES = Type("bytes", "bytes", min_size_bytes=2)
NULL = Type("null", "null")
DYN = Type("dyn", "dyn", min_size_bytes=1)
ERROR = Type("error", "!error!")
DURATION = Type("duration", "duration", min_size_bytes=3)
TIMESTAMP = Type("timestamp", "timestamp", min_size_bytes=12)


def list_of(item: Type, max_elements: int = 0) -> Type:
    """``list(item)``."""
    return Type("list", "list", (item,), max_elements=max_elements, min_size_bytes=2)


def map_of(key: Type, value: Type, max_elements: int = 0) -> Type:
    """``map(key, value)``."""
    return Type("map", "map", (key, value), max_elements=max_elements, min_size_bytes=2)


def type_of(described: Type) -> Type:
    """The type of a type."""
    return Type("type", "type", (described,))


def opaque(name: str, *params: Type) -> Type:
    """A type whose values only functions look into."""
    return Type("opaque", name, params)


def optional_of(item: Type) -> Type:
    """``optional_type(item)``."""
    return Type("opaque", "optional_type", (item,))


def param(name: str) -> Type:
    """A type parameter of a function or a type that is not known yet."""
    return Type("param", name)


def struct(name: str, fields: Mapping[str, Field], min_size_bytes: int = 2) -> Type:
    """An object with declared fields, keyed by their escaped names."""
    return Type("struct", name, fields=fields, min_size_bytes=min_size_bytes)


def is_optional(one: Type) -> bool:
    """Whether a type is ``optional_type``."""
    return one.kind == "opaque" and one.name == "optional_type"


def is_loose(one: Type) -> bool:
    """Whether anything goes: dyn, or the type of something that was wrong already."""
    return one.kind in {"dyn", "error"}


def same(one: Type, other: Type) -> bool:
    """Whether two types are the same type."""
    if one is other:
        return True
    if one.kind != other.kind or one.name != other.name or len(one.params) != len(other.params):
        return False
    if one.kind == "struct":
        return one.fields is other.fields
    return all(map(same, one.params, other.params))


class Substitution:
    """What type parameters stand for, as far as it is known."""

    __slots__ = ("bound",)

    def __init__(self, bound: dict[str, Type] | None = None) -> None:
        self.bound = bound or {}

    def assignable(self, one: Type, other: Type) -> bool:
        """Whether ``one`` may stand where ``other`` is wanted; learns parameters only if so."""
        return self.all_assignable((one,), (other,))

    def all_assignable(self, some: tuple[Type, ...], others: tuple[Type, ...]) -> bool:
        """``assignable`` for several at once."""
        trial = Substitution(dict(self.bound))
        if len(some) != len(others) or not all(map(trial._fits, some, others)):
            return False
        self.bound = trial.bound
        return True

    def _fits(self, one: Type, other: Type) -> bool:
        if other.kind == "param":
            fits, had = self._stands_for(one, other)
            if fits:
                return True
            if had:
                return False
        if one.kind == "param":
            return self._stands_for(other, one)[0]
        if is_loose(one) or is_loose(other):
            return True
        if one.kind == "null":
            return _nullable(other)
        if other.kind == "null":
            return _nullable(one)
        if one.kind == "type":
            return other.kind == "type"
        if one.kind in {"opaque", "list", "map"}:
            return (
                one.kind == other.kind
                and one.name == other.name
                and len(one.params) == len(other.params)
                and all(map(self._fits, one.params, other.params))
            )
        return same(one, other)

    def _stands_for(self, one: Type, unknown: Type) -> tuple[bool, bool]:
        """Whether the parameter ``unknown`` may be ``one``, and whether it was something before."""
        if same(one, unknown):
            return True, True
        known = self.bound.get(unknown.name)
        if known is not None:
            if same(one, known):
                return True, True
            if self._fits(one, known):
                wider = one if _wider(one, known) else known
                if self._free_of(unknown, wider):
                    self.bound[unknown.name] = wider
                return True, True
            return False, True
        if self._free_of(unknown, one):
            self.bound[unknown.name] = one
            return True, False
        return False, False

    def _free_of(self, unknown: Type, within: Type) -> bool:
        if within.kind == "param":
            if within.name == unknown.name:
                return False
            known = self.bound.get(within.name)
            return known is None or self._free_of(unknown, known)
        return all(self._free_of(unknown, one) for one in within.params)

    def apply(self, one: Type, *, final: bool = False) -> Type:
        """``one`` with its known parameters filled in; ``final`` makes dyn of the others."""
        if one.kind == "param":
            known = self.bound.get(one.name)
            if known is not None:
                return self.apply(known, final=final)
            return DYN if final else one
        if not one.params:
            return one
        params = tuple(self.apply(inner, final=final) for inner in one.params)
        if all(new is old for new, old in zip(params, one.params, strict=True)):
            return one
        made = Type(one.kind, one.name, params, max_elements=one.max_elements)
        made.min_size_bytes, made.merge, made.keys = one.min_size_bytes, one.merge, one.keys
        return made


def _nullable(one: Type) -> bool:
    return one.kind in {"opaque", "struct", "duration", "timestamp", "null"}


def _wider(one: Type, other: Type) -> bool:
    """Whether ``one`` is equal to ``other`` or says less."""
    if one.kind in {"dyn", "param"}:
        return True
    if other.kind in {"dyn", "param"} or one.kind != other.kind:
        return False
    if one.kind in {"opaque", "list", "map"}:
        return (
            one.name == other.name
            and len(one.params) == len(other.params)
            and all(map(_wider, one.params, other.params))
        )
    return one.kind == "type" or same(one, other)


def most_general(one: Type, other: Type) -> Type:
    """The wider of two types that fit each other."""
    return one if _wider(one, other) else other
