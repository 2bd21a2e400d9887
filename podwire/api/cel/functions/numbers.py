"""Kubernetes' numbers: resource quantities and semantic versions.

Source: Kubernetes' apiserver pkg/cel/library/quantity.go, semverlib.go (version 1); the messages
of versions are those of github.com/blang/semver/v4.
"""

from __future__ import annotations

import re
from typing import Any

from podwire.api import quantity
from podwire.api.cel.functions import costs
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.types import BOOL, DOUBLE, INT, STRING, opaque
from podwire.api.cel.values import MAX_INT, MIN_INT, CelError, name_type

QUANTITY = opaque("kubernetes.Quantity")
SEMVER = opaque("kubernetes.Semver")
_NANO = 10**9
_ALNUM = re.compile(r"[0-9A-Za-z-]*")


class Quantity:
    """A quantity, as an exact number of billionths."""

    __slots__ = ("nano",)

    def __init__(self, nano: int) -> None:
        self.nano = nano

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __hash__(self) -> int:
        return hash(self.nano)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text).nano)
    except quantity.QuantityError as wrong:
        raise CelError(str(wrong)) from None


def _holds(make: Any, *args: Any) -> bool:
    """Whether something can be made of its arguments."""
    try:
        make(*args)
    except CelError:
        return False
    return True


def _is_integer(one: Quantity) -> bool:
    return one.nano % _NANO == 0 and MIN_INT <= one.nano // _NANO <= MAX_INT


def _as_integer(one: Quantity) -> int:
    if not _is_integer(one):
        raise CelError("cannot convert value to integer")
    return one.nano // _NANO


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


_QQ, _QI = (QUANTITY, QUANTITY), (QUANTITY, INT)
function("quantity", "string_to_quantity", (STRING,), QUANTITY, _quantity, costs.traversal)
function(
    "isQuantity", "is_quantity_string", (STRING,), BOOL,
    lambda text: _holds(_quantity, text), costs.traversal,
)  # fmt: skip
function("sign", "quantity_sign", (QUANTITY,), INT, lambda one: _sign(one.nano))
method("isGreaterThan", "quantity_is_greater_than", _QQ, BOOL, lambda x, y: x.nano > y.nano)
method("isLessThan", "quantity_is_less_than", _QQ, BOOL, lambda x, y: x.nano < y.nano)
method("compareTo", "quantity_compare_to", _QQ, INT, lambda x, y: _sign(x.nano - y.nano))
method("asApproximateFloat", "quantity_get_float", (QUANTITY,), DOUBLE, lambda x: x.nano / _NANO)
method("asInteger", "quantity_get_int", (QUANTITY,), INT, _as_integer)
method("isInteger", "quantity_is_integer", (QUANTITY,), BOOL, _is_integer)
method("add", "quantity_add", _QQ, QUANTITY, lambda x, y: Quantity(x.nano + y.nano))
method("add", "quantity_add_int", _QI, QUANTITY, lambda x, y: Quantity(x.nano + y * _NANO))
method("sub", "quantity_sub", _QQ, QUANTITY, lambda x, y: Quantity(x.nano - y.nano))
method("sub", "quantity_sub_int", _QI, QUANTITY, lambda x, y: Quantity(x.nano - y * _NANO))
name_type(Quantity, "kubernetes.Quantity")


class Semver:
    """A version; those that differ only in build metadata are equal."""

    __slots__ = ("key", "numbers")

    def __init__(self, numbers: tuple[int, int, int], pre: list[str]) -> None:
        self.numbers = numbers
        # a release is above its pre-releases; numbers are below words
        parts = [(0, int(one), "") if one.isdigit() else (1, 0, one) for one in pre]
        self.key = (numbers, not pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.numbers)


def _semver(text: str, normalize: bool = False) -> Semver:
    if normalize:
        text = _normalized(text)
    if not text:
        raise CelError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise CelError("No Major.Minor.Patch elements found")
    major, minor = (_part(one, name) for one, name in zip(parts, ("Major", "Minor"), strict=False))
    rest = parts[2]
    build: list[str] = []
    pre: list[str] = []
    if "+" in rest:
        rest, _, text = rest.partition("+")
        build = text.split(".")
    if "-" in rest:
        rest, _, text = rest.partition("-")
        pre = text.split(".")
    patch = _part(rest, "Patch")
    for one in pre:
        if not one:
            raise CelError("Prerelease is empty")
        if one.isdigit() and len(one) > 1 and one[0] == "0":
            raise CelError(f'Numeric PreRelease version must not contain leading zeroes "{one}"')
        if not _ALNUM.fullmatch(one):
            raise CelError(f'Invalid character(s) found in prerelease "{one}"')
    for one in build:
        if not one:
            raise CelError("Build meta data is empty")
        if not _ALNUM.fullmatch(one):
            raise CelError(f'Invalid character(s) found in build meta data "{one}"')
    return Semver((major, minor, patch), pre)


def _part(text: str, name: str) -> int:
    if not (text.isascii() and (text.isdigit() or not text)):
        raise CelError(f'Invalid character(s) found in {name.lower()} number "{text}"')
    if len(text) > 1 and text[0] == "0":
        raise CelError(f'{name} number must not contain leading zeroes "{text}"')
    if not text or len(text) > 20 or int(text) >= 1 << 64:
        why = "value out of range" if text else "invalid syntax"
        raise CelError(f'strconv.ParseUint: parsing "{text}": {why}')
    return int(text)


def _normalized(text: str) -> str:
    """Without a leading v and zeros, with all three numbers."""
    parts = text.removeprefix("v").split(".", 2)
    for place, one in enumerate(parts):
        if len(one) > 1:
            short = one.lstrip("0")
            parts[place] = short if short[:1] and short[0] in "0123456789" else f"0{short}"
    if len(parts) < 3:
        if any(sign in parts[-1] for sign in "+-"):
            raise CelError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _compared(one: Semver, other: Semver) -> int:
    return (one.key > other.key) - (one.key < other.key)


_SS = (SEMVER, SEMVER)
for _args in ((STRING,), (STRING, BOOL)):
    _id = "string_to_semver" if len(_args) == 1 else "string_bool_to_semver"
    function("semver", _id, _args, SEMVER, _semver, costs.traversal)
    _id = "is_semver_string" if len(_args) == 1 else "is_semver_string_bool"
    function("isSemver", _id, _args, BOOL, lambda *args: _holds(_semver, *args), costs.traversal)
method("isGreaterThan", "semver_is_greater_than", _SS, BOOL, lambda x, y: _compared(x, y) > 0)
method("isLessThan", "semver_is_less_than", _SS, BOOL, lambda x, y: _compared(x, y) < 0)
method("compareTo", "semver_compare_to", _SS, INT, _compared)
for _place, _name in enumerate(("major", "minor", "patch")):
    method(
        _name, f"semver_{_name}", (SEMVER,), INT,
        lambda version, place=_place: version.numbers[place],
    )  # fmt: skip
name_type(Semver, "kubernetes.Semver")
