"""xargs: words of stdin as arguments."""

from __future__ import annotations

import shlex

from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``xargs [-0r] [-n N] [-I STRING] [COMMAND...]``; with ``-P``, too, one after the other."""
    args, size, mark = list(command.args), 0, ""
    nothing = null = False
    while args and args[0][:2] in {"-n", "-I", "-r", "-0", "-t", "-P", "-L", "-i"}:
        option = args.pop(0)
        nothing, null = nothing or option == "-r", null or option[:2] == "-0"
        if option[:2] in {"-r", "-0", "-t"}:
            continue
        value = option[2:] or (args.pop(0) if args else "")
        if option[:2] in {"-n", "-L"} and value.isdigit():
            size = int(value)
        elif option.startswith("-I"):
            mark = value
    base = args or ["echo"]
    text = (await command.stdin.all()).decode(errors="surrogateescape")
    status = 0
    if mark:
        lines = text.rstrip("\0").split("\0") if null else text.splitlines()
        calls = [[word.replace(mark, line) for word in base] for line in lines]
    else:
        words = text.rstrip("\0").split("\0") if null else _words(text)
        if nothing and not words:
            return 0
        step = size or max(len(words), 1)
        calls = [[*base, *words[i : i + step]] for i in range(0, max(len(words), 1), step)]
    for call in calls[:10_000]:
        if await command.runner.run_argv(call, command):
            status = 123
    return status


def _words(text: str) -> list[str]:
    """Words of stdin; quotes and backslashes keep blanks. Raises UsageError."""
    try:
        return shlex.split(text)
    except ValueError:
        raise UsageError("unmatched quote; by default quotes are special to xargs") from None
