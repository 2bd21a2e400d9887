"""xargs: words of stdin as arguments."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``xargs [-n N] [-I STRING] [COMMAND...]``."""
    args, size, mark = list(command.args), 0, ""
    while args and args[0][:2] in {"-n", "-I", "-r"}:
        option = args.pop(0)
        value = option[2:] or (args.pop(0) if option != "-r" and args else "")
        if option.startswith("-n") and value.isdigit():
            size = int(value)
        elif option.startswith("-I"):
            mark = value
    base = args or ["echo"]
    text = (await command.stdin.all()).decode(errors="surrogateescape")
    status = 0
    if mark:
        calls = [[word.replace(mark, line) for word in base] for line in text.splitlines()]
    else:
        words = text.split()
        step = size or max(len(words), 1)
        calls = [[*base, *words[i : i + step]] for i in range(0, max(len(words), 1), step)]
    for call in calls[:10_000]:
        if await command.runner.run_argv(call, command):
            status = 123
    return status
