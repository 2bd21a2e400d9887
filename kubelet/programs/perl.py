"""perl as Kubernetes' page about Jobs runs it: the digits of pi."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command, UsageError

MAX_DIGITS = 10_000
_BPI = re.compile(r"\s*print\s+bpi\((\d{1,5})\)\s*;?\s*")


async def run(command: Command) -> int:
    """``perl -Mbignum=bpi -wle 'print bpi(N)'``; any other program is not modelled."""
    args = command.args
    wanted = _BPI.fullmatch(args[-1]) if args else None
    options = set(args[:-1])
    if wanted is None or not options <= {"-Mbignum=bpi", "-wle", "-le", "-w", "-l", "-e"}:
        raise UsageError("not modelled: any program but print bpi(N)", 2)
    digits = min(int(wanted[1]), MAX_DIGITS)
    command.out(f"{pi(max(digits, 1))}\n")
    return 0


def pi(digits: int) -> str:
    """Pi rounded to so many significant digits (Machin's formula)."""
    unit = 10 ** (digits + 10)
    scaled = 4 * (4 * _arctan(5, unit) - _arctan(239, unit))
    rounded = (scaled + 10**11 // 2) // 10**11
    text = str(rounded)
    return f"{text[0]}.{text[1:]}" if len(text) > 1 else text


def _arctan(inverse: int, unit: int) -> int:
    """Arctan(1/inverse) times unit."""
    total = term = unit // inverse
    n, sign = 3, -1
    while term:
        term //= inverse * inverse
        total += sign * (term // n)
        n, sign = n + 2, -sign
    return total
