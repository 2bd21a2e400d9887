"""seq: numbers."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError

MAX_NUMBERS = 100_000


async def run(command: Command) -> int:
    """``seq [-s SEP] [-w] [FIRST [STEP]] LAST``: integers."""
    args, separator, wide = list(command.args), "\n", False
    while args and args[0][:2] in {"-s", "-w"}:
        option = args.pop(0)
        wide = wide or option == "-w"
        if option[:2] == "-s":
            separator = option[2:] or (args.pop(0) if args else "")
    try:
        numbers = [int(arg) for arg in args]
    except ValueError:
        raise UsageError(f"invalid number in '{' '.join(args)}'") from None
    if not 1 <= len(numbers) <= 3:
        raise UsageError("usage: seq [FIRST [STEP]] LAST")
    first = numbers[0] if len(numbers) > 1 else 1
    step = numbers[1] if len(numbers) == 3 else 1
    if not step:
        raise UsageError("invalid Zero increment value: '0'")
    found = range(first, numbers[-1] + (1 if step > 0 else -1), step)
    if len(found) > MAX_NUMBERS:
        raise UsageError(f"more than {MAX_NUMBERS} numbers: not modelled")
    if found:
        width = max(len(str(found[0])), len(str(found[-1]))) if wide else 0
        command.out(separator.join(f"{number:0{width}d}" for number in found) + "\n")
    return 0
