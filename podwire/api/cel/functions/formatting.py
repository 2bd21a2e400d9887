"""``'%s'.format([x])``.

Source: cel-go ext/formatting.go (the form of version 2 of the strings library).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from podwire.api.cel.values import (
    CelError,
    Duration,
    Timestamp,
    TypeValue,
    format_double,
    type_name,
)

_MAX_PRECISION = 4096
_MAX_DIGITS = 200
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_STRING_ABLE = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


ANYTHING = object()
"""Stands for a value of which nothing is known; every clause can show it."""


def clauses(template: str) -> int:
    """How many arguments a template wants."""
    return template.replace("%%", "").count("%")


def formatted(template: str, args: list[Any]) -> str:
    """``template`` with each clause replaced by its argument. Raises CelError."""
    made: list[str] = []
    at, used = 0, 0
    while at < len(template):
        stop = template.find("%", at)
        if stop < 0:
            made.append(template[at:])
            break
        made.append(template[at:stop])
        if template[stop + 1 : stop + 2] == "%":
            made.append("%")
            at = stop + 2
            continue
        if used >= len(args):
            raise CelError(f"index {used} out of range")
        if stop + 1 >= len(template):
            raise CelError("unexpected end of string")
        at, shown = _clause(template, stop + 1, args[used])
        made.append(shown)
        used += 1
    return "".join(made)


def _clause(template: str, at: int, value: Any) -> tuple[int, str]:
    precision = 6
    start = "could not parse formatting clause: "
    if template[at] == ".":
        end = at + 1
        while end < len(template) and template[end] in "0123456789":
            end += 1
        wrong = f"{start}error while parsing precision: "
        if end >= len(template):
            raise CelError(f"{wrong}could not find end of precision specifier")
        digits = template[at + 1 : end]
        if not digits:
            raise CelError(
                f'{wrong}error while converting precision to integer: strconv.Atoi: parsing "": '
                "invalid syntax"
            )
        precision = int(digits[:10])
        if precision > _MAX_PRECISION:
            raise CelError(
                f"{wrong}precision {precision} exceeds maximum allowed precision {_MAX_PRECISION}"
            )
        at = end
    sign = template[at]
    form = _FORMS.get(sign)
    if form is None:
        raise CelError(f'{start}unrecognized formatting clause "{sign}"')
    return at + 1, "" if value is ANYTHING else form(value, precision)


def _only(clause: str, able: str, value: Any) -> CelError:
    what = f"{clause} clause can only be used on {able}, was given {type_name(value)}"
    return CelError(f"error during formatting: {what}")


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool | Duration)


def _text(value: Any, _: int = 0) -> str:
    """A value by itself: texts without quotes."""
    match value:
        case str():
            return value
        case bytes():
            return value.decode(errors="replace")
        case _:
            return _nested(value, plain=True)


def _nested(value: Any, *, plain: bool = False) -> str:
    """A value within a list or map: texts in quotes, times by their functions."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case bytes():
            return f'b"{value.decode(errors="replace")}"'
        case Duration():
            return str(value) if plain else f'duration("{value}")'
        case Timestamp():
            shown = str(Timestamp(value.ns))
            return shown if plain else f'timestamp("{shown}")'
        case int():
            return str(value)
        case float():
            return format_double(value) if plain else f"{value:.6f}"
        case TypeValue():
            return value.name
        case list():
            return f"[{', '.join(_nested(one) for one in value)}]"
        case dict():
            entries = sorted((_nested(key), _nested(inner)) for key, inner in value.items())
            return "{" + ", ".join(f"{key}:{inner}" for key, inner in entries) + "}"
    raise _only("string", _STRING_ABLE, value)


def _decimal(value: Any, _: int) -> str:
    if not _number(value):
        raise _only("decimal", "integers", value)
    return str(int(value))


def _double(clause: str, value: Any) -> float:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if not isinstance(value, float):
        raise _only(clause, "doubles", value)
    return value


def _unusual(number: float) -> str:
    """How what is no finite number is shown."""
    return "NaN" if math.isnan(number) else ("∞" if number > 0 else "-∞")


def _fixed(value: Any, precision: int) -> str:
    number = _double("fixed-point", value)
    return (
        f"{number:,.{min(precision, _MAX_DIGITS)}f}" if math.isfinite(number) else _unusual(number)
    )


def _scientific(value: Any, __: int) -> str:
    number = _double("scientific", value)
    if not math.isfinite(number):
        return _unusual(number)
    # the locale's formatter that upstream uses shows six digits whatever was asked for
    mantissa, _, exponent = f"{number:.6e}".partition("e")
    return f"{mantissa}\u00d710{exponent.replace('+', '').translate(_SUPERSCRIPT)}"


def _binary(value: Any, _: int) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if not _number(value):
        raise _only("binary", "integers and bools", value)
    return f"{int(value):b}"


def _hex(value: Any, _: int) -> str:
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, bytes):
        return value.hex()
    if not _number(value):
        raise _only("hex", "integers, byte buffers, and strings", value)
    return f"{int(value):x}"


def _octal(value: Any, _: int) -> str:
    if not _number(value):
        raise _only("octal", "integers", value)
    return f"{int(value):o}"


_FORMS: dict[str, Callable[[Any, int], str]] = {
    "s": _text,
    "d": _decimal,
    "f": _fixed,
    "e": _scientific,
    "b": _binary,
    "x": _hex,
    "X": lambda value, precision: _hex(value, precision).upper(),
    "o": _octal,
}
