"""env and printenv: show variables, or run a command with more of them."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``env [-i] [NAME=VALUE...] [COMMAND...]``; ``printenv [NAME...]``."""
    variables = dict(command.variables)
    args = list(command.args)
    if command.name == "printenv" and args:
        found = [variables[name] for name in args if name in variables]
        for value in found:
            command.out(f"{value}\n")
        return 0 if len(found) == len(args) else 1
    while args and (args[0] in {"-i", "-"} or "=" in args[0]):
        word = args.pop(0)
        if "=" in word:
            name, _, value = word.partition("=")
            variables[name] = value
        else:
            variables.clear()
    command.variables = variables
    if args:
        return await command.runner.run_argv(args, command)
    for name, value in variables.items():
        command.out(f"{name}={value}\n")
    return 0
