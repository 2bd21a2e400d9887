"""kill: signals to the processes that ps shows."""

from __future__ import annotations

from podwire.kubelet.pids import SIGNALS
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``kill [-s SIGNAL|-SIGNAL] PID...``, ``kill -l``."""
    args = command.args
    if args == ["-l"]:
        command.out("".join(f"{number:2}) {name}\n" for name, number in SIGNALS.items()))
        return 0
    name = "TERM"
    if args[:1] == ["-s"]:
        name, args = _signal(args[1] if args[1:] else ""), args[2:]
    elif args and args[0].startswith("-"):
        name, args = _signal(args[0][1:]), args[1:]
    if not args:
        raise UsageError("you need to specify whom to kill", 1)
    status = 0
    for word in args:
        if not word.isdigit():
            status = command.fail(f"invalid number '{word}'")
            continue
        try:
            command.env.kill(int(word), name)
        except OSError as error:
            status = command.fail(f"can't kill pid {word}: {error.strerror}")
    return status


def _signal(word: str) -> str:
    """A signal by name or number. Raises UsageError."""
    name = word.upper().removeprefix("SIG")
    if name == "0" or name in SIGNALS:
        return name
    for known, number in SIGNALS.items():
        if word == str(number):
            return known
    raise UsageError(f"bad signal name '{word}'")
