"""expr: arithmetic, comparisons, length and substr of words."""

from __future__ import annotations

from podwire.kubelet.shell.arithmetic import ExpansionError, arithmetic
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.grep import pattern

_COMPARE = {"=", "==", "!=", "<", "<=", ">", ">="}


async def run(command: Command) -> int:
    """``expr A (+|-|*|/|%) B``, comparisons, ``S : REGEX``, ``length S``, ``substr S POS LEN``;
    1 for 0 or "".
    """
    args = command.args
    if len(args) == 2 and args[0] == "length":
        value = str(len(args[1]))
    elif len(args) == 4 and args[0] == "substr" and args[2].isdigit() and args[3].isdigit():
        start = int(args[2])
        value = args[1][start - 1 : start - 1 + int(args[3])] if start else ""
    elif (len(args) == 3 and args[1] == ":") or (len(args) == 3 and args[0] == "match"):
        value = _matched(args[0] if args[1] == ":" else args[1], args[2])
    elif len(args) == 1:
        value = args[0]
    else:
        value = _calculated(args)
    command.out(f"{value}\n")
    return 1 if value in {"", "0"} else 0


def _matched(text: str, source: str) -> str:
    """``TEXT : REGEX``: the group, or how many characters matched from the start."""
    wanted = pattern(source, extended=False, fixed=False, ignore_case=False)
    found = wanted.match(text)
    if wanted.groups:
        return (found[1] or "") if found else ""
    return str(len(found[0]) if found else 0)


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
