"""expr: arithmetic, comparisons, length and substr of words."""

from __future__ import annotations

from podwire.kubelet.shell.arithmetic import ExpansionError, arithmetic
from podwire.kubelet.shell.command import Command, UsageError

_COMPARE = {"=", "==", "!=", "<", "<=", ">", ">="}


async def run(command: Command) -> int:
    """``expr A (+|-|*|/|%) B``, comparisons, ``length S``, ``substr S POS LEN``; 1 for 0 or ""."""
    args = command.args
    if len(args) == 2 and args[0] == "length":
        value = str(len(args[1]))
    elif len(args) == 4 and args[0] == "substr" and args[2].isdigit() and args[3].isdigit():
        start = int(args[2])
        value = args[1][start - 1 : start - 1 + int(args[3])] if start else ""
    elif len(args) == 1:
        value = args[0]
    else:
        value = _calculated(args)
    command.out(f"{value}\n")
    return 1 if value in {"", "0"} else 0


def _calculated(args: list[str]) -> str:
    numbers = all(a.lstrip("-").isdigit() or a in "+-*/%()" or a in _COMPARE for a in args)
    if len(args) == 3 and args[1] in _COMPARE and not numbers:
        a, op, b = args
        less, same = a < b, a == b
        known = {"=": same, "==": same, "!=": not same, "<": less, "<=": less or same,
                 ">": not less and not same, ">=": not less}  # fmt: skip
        return str(int(known[op]))
    if not args or not numbers:
        raise UsageError(f"not modelled or a syntax error: {' '.join(args)}", 2)
    try:
        return str(arithmetic(" ".join("==" if a == "=" else a for a in args), {}))
    except ExpansionError as error:
        why = "division by zero" if "divide" in str(error) else "syntax error"
        raise UsageError(why, 2) from None
