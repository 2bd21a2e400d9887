"""awk's own functions, those apart that take an array or a place (``expressions.py``)."""

from __future__ import annotations

import math
from collections.abc import Callable

from podwire.kubelet.shell.awk.machine import Machine
from podwire.kubelet.shell.awk.values import Value, compiled, number, sprintf, substr, text
from podwire.kubelet.shell.command import UsageError

ARITIES = {
    "length": (0, 1), "substr": (2, 3), "index": (2, 2), "split": (2, 3), "sub": (2, 3),
    "gsub": (2, 3), "match": (2, 2), "sprintf": (1, 99), "tolower": (1, 1), "toupper": (1, 1),
    "int": (1, 1), "sqrt": (1, 1), "exp": (1, 1), "log": (1, 1), "sin": (1, 1), "cos": (1, 1),
    "atan2": (2, 2), "rand": (0, 0), "srand": (0, 1), "close": (1, 1), "fflush": (0, 1),
    "systime": (0, 0), "and": (2, 2), "or": (2, 2), "xor": (2, 2), "lshift": (2, 2),
    "rshift": (2, 2), "system": (1, 1), "strftime": (0, 3), "gensub": (3, 4), "asort": (1, 2),
    "asorti": (1, 2), "mktime": (1, 1), "strtonum": (1, 1), "toascii": (1, 1),
}  # fmt: skip
"""Name -> fewest and most arguments."""
_MATHS: dict[str, Callable[[float], float]] = {
    "int": math.trunc, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "sin": math.sin,
    "cos": math.cos,
}  # fmt: skip
_BITS: dict[str, Callable[[int, int], int]] = {
    "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "lshift": lambda a, b: (a << min(b, 64)) & ((1 << 53) - 1),
    "rshift": lambda a, b: a >> min(b, 64),
}  # fmt: skip


def call(m: Machine, name: str, args: list[Value]) -> Value:
    """The value of ``name(args)``. Raises UsageError for what is not modelled."""
    texts = [text(arg) for arg in args]
    match name:
        case "substr":
            length = number(args[2]) if len(args) > 2 else None
            return substr(texts[0], number(args[1]), length)
        case "index":
            return float(texts[0].find(texts[1]) + 1)
        case "match":
            return _match(m, texts[0], texts[1])
        case "sprintf":
            return sprintf(args)
        case "tolower":
            return texts[0].lower()
        case "toupper":
            return texts[0].upper()
        case "atan2":
            return math.atan2(number(args[0]), number(args[1]))
        case "rand":
            return m.random()
        case "systime":
            return float(m.now_s())
        case "srand" | "fflush":
            return 0.0
        case "close":
            return 0.0 if m.opened.pop(texts[0], None) is not None else -1.0
    if name in _BITS:
        a, b = (int(number(arg)) for arg in args)
        if a < 0 or b < 0:
            raise UsageError(f"{name}: negative values are not modelled", 2)
        return float(_BITS[name](a, b))
    if name in _MATHS:
        return _maths(name, number(args[0]))
    raise UsageError(f"not modelled: {name}()", 2)


def _maths(name: str, value: float) -> float:
    try:
        return float(_MATHS[name](value))
    except OverflowError:
        return value if name == "int" else math.inf
    except ValueError:
        return -math.inf if name == "log" and value == 0 else math.nan


def _match(m: Machine, line: str, source: str) -> float:
    found = compiled(source).search(line)
    m.values["RSTART"] = float(found.start() + 1) if found else 0.0
    m.values["RLENGTH"] = float(found.end() - found.start()) if found else -1.0
    return number(m.values["RSTART"])
