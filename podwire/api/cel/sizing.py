"""Ranges of sizes and costs, and what calls of Kubernetes' own functions may cost.

Source: cel-go checker/cost.go, ext/lists.go, ext/sets.go; Kubernetes' apiserver
pkg/cel/library/cost.go (EstimateCallCost). Numbers stop at the largest of 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from podwire.api.cel.functions.costs import CHECK_COST, LIST_COST, QUARTER, STRUCT_COST, TENTH
from podwire.api.cel.syntax import Call, Literal, Node
from podwire.api.cel.types import UNBOUNDED, Type, is_optional, same

if TYPE_CHECKING:
    from podwire.api.cel.estimate import _Coster


def capped(number: int) -> int:
    """A number, or the largest there is."""
    return min(number, UNBOUNDED)


def _scaled(count: int, factor: float) -> int:
    scaled = float(count) * factor
    return UNBOUNDED if scaled >= 2.0**64 else capped(math.ceil(scaled))


class Range(NamedTuple):
    """From ``low`` to ``high``, both included."""

    low: int
    high: int

    def __add__(self, other: Range) -> Range:  # type: ignore[override]
        return Range(capped(self.low + other.low), capped(self.high + other.high))

    def by(self, other: Range) -> Range:
        """The product."""
        return Range(capped(self.low * other.low), capped(self.high * other.high))

    def cost(self, factor: float) -> Range:
        """So much for each, rounded up."""
        return Range(_scaled(self.low, factor), _scaled(self.high, factor))

    def union(self, other: Range) -> Range:
        """The least range that has both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def fixed(number: int) -> Range:
    """Exactly so much."""
    return Range(number, number)


UNKNOWN = Range(0, UNBOUNDED)
COMPARED = frozenset(
    ["equals", "not_equals"]
    + [
        f"{word}_{kind}"
        for word in ("less", "less_equals", "greater", "greater_equals")
        for kind in ("string", "bytes")
    ]
)
"""Overloads that walk through the shorter of two values."""

Found = tuple[Range, Range | None]
Own = Callable[["_Coster", Call, str], "Found | None"]


def is_scalar(one: Type) -> bool:
    """Whether every value of a type is of one size."""
    if is_optional(one):
        return is_scalar(one.params[0])
    return one.kind in {"bool", "double", "duration", "int", "timestamp", "uint"}


def _target(node: Call) -> Node:
    return node.args[0] if node.target is None else node.target


def _flat(number: int) -> Own:
    return lambda *_: (fixed(number), None)


def _selector(coster: _Coster, node: Call, _: str) -> Found:
    length = coster.argument(node.args[0])
    needs = length.cost(0.5).cost(float(LIST_COST + STRUCT_COST))
    return fixed(LIST_COST) + length.cost(TENTH) + needs, None


def _elements(coster: _Coster, node: Call, _: str) -> Found | None:
    """isSorted, sum, max, min, indexOf and lastIndexOf: every element, texts by their length."""
    target = node.target
    if target is None:
        return None
    each = fixed(1)
    element = coster.element(target)
    if element is None:
        return coster.argument(target).cost(TENTH), None
    if element[0].kind in {"string", "bytes"}:
        each += element[1].cost(TENTH)
    return coster.argument(target).by(each), None


def _argument(coster: _Coster, node: Call, _: str) -> Found:
    size = coster.argument(node.args[0])
    return size.cost(TENTH), size


def _parsed(factor: float) -> Own:
    return lambda coster, node, _: (coster.argument(node.args[0]).cost(factor), None)


def _traversed(coster: _Coster, node: Call, _: str) -> Found | None:
    if node.target is None:
        return None
    size = coster.argument(node.target)
    return size.cost(TENTH), size


def _replace(coster: _Coster, node: Call, _: str) -> Found | None:
    if node.target is None:
        return None
    size, old, new = (coster.argument(one) for one in (node.target, *node.args[:2]))
    count_high = kept_high = count_low = kept_low = 0
    if old.low == 0:
        count_high, kept_high = capped(size.high + 1), size.high
    elif new.high <= old.low:
        kept_high = size.high
    else:
        count_high = math.ceil(size.high / old.low)
    if old.high == 0:
        count_low, kept_low = capped(size.low + 1), size.low
    elif new.low >= old.high:
        kept_low = size.low
    else:
        count_low = math.ceil(size.low / old.high)
    made = Range(count_low, count_high).by(new) + Range(kept_low, kept_high)
    return size.cost(2 * TENTH), made


def _split(coster: _Coster, node: Call, _: str) -> Found | None:
    if node.target is None:
        return None
    size = coster.argument(node.target)
    most = size.high
    if len(node.args) > 1:
        count = node.args[1]
        if isinstance(count, Literal) and isinstance(count.value, int):
            most = count.value & UNBOUNDED
    return size.cost(2 * TENTH), Range(0, most)


def _join(coster: _Coster, node: Call, _: str) -> Found | None:
    if node.target is None:
        return None
    size = fixed(0)
    count = coster.argument(node.target)
    element = coster.element(node.target)
    if element is not None:
        size = count.by(element[1])
    if node.args:
        gaps = Range(max(count.low - 1, 0), max(count.high - 1, 0))
        size += coster.argument(node.args[0]).by(gaps)
    return size.cost(TENTH), size


def _found(coster: _Coster, node: Call, _: str) -> Found | None:
    if node.target is None:
        return None
    size = coster.argument(node.target)
    text = (size + fixed(1)).cost(TENTH)
    return text.by(coster.argument(node.args[0]).cost(QUARTER)), Range(0, size.high)


def _ip(coster: _Coster, node: Call, overload: str) -> Found | None:
    if overload == "cidr_ip":
        return fixed(1), None
    return _parsed(TENTH)(coster, node, overload)


def _contains(*, network: bool) -> Own:
    def work(coster: _Coster, node: Call, overload: str) -> Found:
        size = Range(4, 16)
        total = (size + size).cost(TENTH)
        if network:
            total += size.cost(TENTH)
            total += fixed(1)
        if overload.endswith("_string"):
            total += coster.argument(node.args[0]).cost(TENTH)
        return total, None

    return work


def _validate(coster: _Coster, node: Call, _: str) -> Found:
    return coster.argument(node.args[0]).cost(TENTH).cost(128 * QUARTER), None


_UNIT = frozenset(
    (
        "net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver",
        *(
            f"kubernetes.authorization.{name}"
            for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
        ),
    )
)  # fmt: skip


def _equals(_: _Coster, node: Call, __: str) -> Found | None:
    one, other = node.args
    if not same(one.type, other.type) or one.type.kind != "opaque":
        return None
    if one.type.name in _UNIT:
        return fixed(1), None
    if one.type.name == "kubernetes.NamedFormat":
        return Range(1, 64).cost(TENTH), None
    return (Range(1, 1).cost(TENTH), None) if one.type.name == "kubernetes.URL" else None


def _made(factor: float, size: Range) -> Found:
    return size.cost(factor) + fixed(1 + LIST_COST), size


def _constant(node: Node, otherwise: int) -> int:
    if isinstance(node, Literal) and type(node.value) is int:
        return max(node.value, 0)
    return otherwise


def _slice(coster: _Coster, node: Call, _: str) -> Found:
    size = coster.argument(_target(node))
    start, end = _constant(node.args[0], 0), _constant(node.args[1], size.high)
    return _made(1, fixed((end - start) & UNBOUNDED))


def _range(_: _Coster, node: Call, __: str) -> Found:
    return _made(1, fixed(_constant(node.args[0], UNBOUNDED)))


def _reverse(coster: _Coster, node: Call, _: str) -> Found:
    return _made(1, coster.argument(_target(node)))


def _flatten(coster: _Coster, node: Call, _: str) -> Found:
    depth = _constant(node.args[0], UNBOUNDED) if node.args else 1
    return _made(float(depth), coster.argument(_target(node)))


def _distinct(coster: _Coster, node: Call, _: str) -> Found:
    size = coster.argument(_target(node))
    return _made(2.0, size.by(size))


def _sort(coster: _Coster, node: Call, overload: str) -> Found:
    size = coster.argument(node.args[0] if node.args else _target(node))
    texts = overload.startswith(("list_string_", "list_bytes_"))
    return _made(2.0 + (TENTH if texts else 0), size.by(size))


def _sets(factor: float) -> Own:
    def work(coster: _Coster, node: Call, _: str) -> Found:
        one, other = (coster.argument(arg) for arg in node.args)
        return one.by(other).cost(factor) + fixed(1), None

    return work


FUNCTIONS: dict[str, Own] = {
    "check": _flat(CHECK_COST),
    **dict.fromkeys(
        (
            "serviceAccount", "path", "group", "resource", "subresource", "namespace", "name",
            "allowed", "reason", "error", "errored", "masked", "prefixLength", "family",
            "isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast",
            "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger",
            "asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub",
            "major", "minor", "patch", "getScheme", "getHostname", "getHost", "getPort",
            "getEscapedPath", "getQuery",
        ),
        _flat(1),
    ),
    **dict.fromkeys(("fieldSelector", "labelSelector"), _selector),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _elements),
    **dict.fromkeys(("url", "jsonpatch.escapeKey"), _argument),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _traversed),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _found),
    **dict.fromkeys(
        ("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _parsed(TENTH)
    ),
    "ip": _ip,
    "ip.isCanonical": _parsed(2 * TENTH),
    "containsIP": _contains(network=False),
    "containsCIDR": _contains(network=True),
    "validate": _validate,
    "_==_": _equals,
    "slice": _slice,
    "lists.range": _range,
    "reverse": _reverse,
    "flatten": _flatten,
    "distinct": _distinct,
    **dict.fromkeys(("sort", "@sortByAssociatedKeys"), _sort),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _sets(1)),
    "sets.equivalent": _sets(2),
}  # fmt: skip
"""Estimates by function; None of one leaves a call to the standard's."""
