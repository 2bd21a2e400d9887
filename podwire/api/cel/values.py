"""What values are at run time, and the errors of evaluating.

JSON values stand for themselves (bool, int, float, str, list, dict, None); ``bytes`` are bytes.
Source: cel-go common/types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

MIN_INT = -(1 << 63)
MAX_INT = (1 << 63) - 1
MAX_UINT = (1 << 64) - 1


class EvalError(Exception):
    """Evaluating an expression ended without a value; ``cost`` is what it had cost by then."""

    cost = 0


class CelError(EvalError):
    """A value could not be computed; the message is upstream's. ``||`` and ``&&`` may absorb it."""


class CostError(EvalError):
    """The expression cost more than it may."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Uint(int):
    """An unsigned integer."""

    __slots__ = ()


class Duration(int):
    """A span of time in nanoseconds."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{plain_double(int(self) / 10**9)}s"


class Optional:
    """A value that may be missing (``NONE``)."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional):
            return NotImplemented
        if self is NONE or other is NONE:
            return self is other
        return equal(self.value, other.value)

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'Optional'")


NONE = Optional(None)
"""``optional.none()``."""


class TypeValue:
    """A type as a value, as ``type(x)`` tells it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Structure(dict[str, Any]):
    """A structure that an expression made, with the name of its type."""

    __slots__ = ("type_name",)

    def __init__(self, entries: dict[str, Any], type_name: str) -> None:
        super().__init__(entries)
        self.type_name = type_name


class SetList(list[Any]):
    """A list of ``x-kubernetes-list-type: set``: compares without order, adds what is missing."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list) or len(self) != len(other):
            return False
        return all(any(equal(mine, theirs) for theirs in other) for mine in self)

    def __add__(self, other: list[Any]) -> list[Any]:
        return SetList([*self, *(one for one in other if not any(equal(one, it) for it in self))])


class MapList(list[Any]):
    """A list of ``x-kubernetes-list-type: map``: its entries are known by their keys."""

    __slots__ = ("key",)
    __hash__ = None

    def __init__(self, items: list[Any], key: Callable[[Any], Any]) -> None:
        super().__init__(items)
        self.key = key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list) or len(self) != len(other):
            return False
        theirs = {self.key(one): one for one in other}
        return all(
            (found := theirs.get(self.key(one))) is not None and equal(one, found) for one in self
        )

    def __add__(self, other: list[Any]) -> list[Any]:
        places = {self.key(one): place for place, one in enumerate(self)}
        made = list(self)
        for one in other:
            place = places.get(self.key(one))
            if place is None:
                places[self.key(one)] = len(made)
                made.append(one)
            else:
                made[place] = one
        return MapList(made, self.key)


_NUMBERS = (int, float)


def equal(one: Any, other: Any) -> bool:
    """CEL's equality: numbers by value whatever their type, everything else by type and value."""
    kind, its = type(one), type(other)
    if kind is its:
        if kind is list:
            return len(one) == len(other) and all(map(equal, one, other))
        if kind is dict:
            return len(one) == len(other) and all(
                key in other and equal(value, other[key]) for key, value in one.items()
            )
        return bool(one == other)
    if kind is bool or its is bool or kind is Duration or its is Duration:
        return False
    if isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS):
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        if isinstance(other, SetList | MapList) and kind is list:
            one, other = other, one
        return bool(one == other)
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(
            key in other and equal(value, other[key]) for key, value in one.items()
        )
    return False


def contains(items: list[Any], wanted: Any) -> bool:
    """Whether a list has an element that equals ``wanted``."""
    return any(equal(item, wanted) for item in items)


def no_overload() -> CelError:
    """The error of an operation that the values' types do not have."""
    return CelError("no such overload")


_SIZED = (str, list, dict, bytes)


def size_of(value: Any) -> int:
    """What ``size()`` says of a value, and 1 for those that have none (for costs)."""
    if isinstance(value, _SIZED):
        return len(value)
    if type(value) is Optional and value is not NONE:
        return size_of(value.value)
    return 1


_TYPE_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    type(None): "null_type",
    Uint: "uint",
    Duration: "google.protobuf.Duration",
    Optional: "optional_type",
    TypeValue: "type",
    SetList: "list",
    MapList: "list",
}


def name_type(made: type, name: str) -> None:
    """Declare what ``type(x)`` calls values of a Python class."""
    _TYPE_NAMES[made] = name


def type_name(value: Any) -> str:
    """What ``type(value)`` is called."""
    return _TYPE_NAMES.get(type(value)) or str(value.type_name)


class Timestamp:
    """A moment: nanoseconds since 1970 and the offset that it was written with."""

    __slots__ = ("ns", "offset_s")

    def __init__(self, ns: int, offset_s: int = 0) -> None:
        self.ns = ns
        self.offset_s = offset_s

    @staticmethod
    def of_seconds(seconds: int) -> Timestamp:
        """Seconds since 1970. Raises CelError outside of the years 1 to 9999."""
        return Timestamp(_within(seconds * 10**9))

    def moved(self, ns: int) -> Timestamp:
        """This much later. Raises CelError outside of the years 1 to 9999."""
        return Timestamp(_within(self.ns + int(ns)), self.offset_s)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(self.ns)

    def __lt__(self, other: Timestamp) -> bool:
        return self.ns < other.ns

    def __le__(self, other: Timestamp) -> bool:
        return self.ns <= other.ns

    def __gt__(self, other: Timestamp) -> bool:
        return self.ns > other.ns

    def __ge__(self, other: Timestamp) -> bool:
        return self.ns >= other.ns

    def __str__(self) -> str:
        """RFC 3339 with as many decimals as there are, in the offset that it was written with."""
        seconds, rest = divmod(self.ns, 10**9)
        day = _EPOCH + timedelta(seconds=seconds + self.offset_s)
        shown = day.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        if rest:
            shown += f".{rest:09d}".rstrip("0")
        if not self.offset_s:
            return f"{shown}Z"
        hours, minutes = divmod(abs(self.offset_s) // 60, 60)
        return f"{shown}{'-' if self.offset_s < 0 else '+'}{hours:02d}:{minutes:02d}"


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic only, all of it in UTC
FIRST_SECOND = -62135596800
"""The year 1."""

LAST_SECOND = 253402300799
"""The end of the year 9999."""

_FIRST = FIRST_SECOND * 10**9
_LAST = (LAST_SECOND + 1) * 10**9 - 1


def _within(ns: int) -> int:
    if _FIRST <= ns <= _LAST:
        return ns
    raise CelError("timestamp overflow")


_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d{1,30}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


def parse_timestamp(text: str) -> Timestamp | None:
    """An RFC 3339 text, or None."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        day = datetime.fromisoformat(f"{found[1]}T{found[2]}")
    except ValueError:
        return None
    offset = 0
    if found[4]:
        hours, minutes = int(found[5]), int(found[6])
        if hours > 24 or minutes >= 60:
            return None
        offset = (hours * 60 + minutes) * (-60 if found[4] == "-" else 60)
    seconds = (day - _EPOCH) // timedelta(seconds=1) - offset
    ns = seconds * 10**9 + int((found[3] or "")[:9].ljust(9, "0"))
    return Timestamp(ns, offset) if _FIRST <= ns <= _LAST else None


_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"(\d{0,30})(\.\d{0,30})?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def parse_duration(text: str) -> Duration | None:
    """Go's form of a span of time (``1h1.5m``), or None."""
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None or (not part[1] and part[2] in {None, "."}):
            return None
        unit = _UNITS[part[3]]
        total += int(part[1] or 0) * unit
        if part[2] and len(part[2]) > 1:
            total += int(part[2][1:]) * unit // 10 ** (len(part[2]) - 1)
        at = part.end()
    if not body or total > MAX_INT:
        return None
    return Duration(-total if text[0] == "-" else total)


def format_double(number: float) -> str:
    """Go's ``%g`` with the shortest digits: an exponent below 1e-4 and from a million on.

    Source: Go strconv/ftoa.go.
    """
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "-0" if math.copysign(1.0, number) < 0 else "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    shown = "".join(map(str, digits))
    power = len(shown) - 1 + int(exponent)
    minus = "-" if sign else ""
    if -4 <= power < 6:
        return minus + format(Decimal(repr(abs(number))).normalize(), "f")
    rest = f".{shown[1:]}" if len(shown) > 1 else ""
    return f"{minus}{shown[0]}{rest}e{'-' if power < 0 else '+'}{abs(power):02d}"


def plain_double(number: float) -> str:
    """Go's ``%f`` with the shortest digits: no exponent."""
    if math.isnan(number) or math.isinf(number):
        return format_double(number)
    shown = format(Decimal(repr(number)), "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


name_type(Timestamp, "google.protobuf.Timestamp")
