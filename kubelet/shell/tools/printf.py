"""printf: %s %d %i %x %o %c %b and bash's %q: formats reused while arguments last."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.echo import unescape

FORMAT = re.compile(r"%(%|[-+ 0#]*\d{0,4}(?:\.\d{1,4})?[sdiuxXocbfq])")
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def _one(spec: str, arg: str) -> str:
    kind = spec[-1]
    if kind == "b":
        return unescape(arg)
    if kind == "q":
        return arg if _PLAIN.fullmatch(arg) else re.sub(r"([^\w@%+=:,./-])", r"\\\1", arg) or "''"
    if kind == "c":
        return ("%" + spec) % arg[:1]
    if kind == "s":
        return ("%" + spec) % arg
    try:
        if kind == "f":
            return ("%" + spec) % float(arg or "0")
        return ("%" + spec.replace("u", "d")) % int(arg or "0", 0)
    except ValueError:
        raise UsageError(f"{arg}: invalid number") from None


async def run(command: Command) -> int:
    """``printf FORMAT [ARGS...]``."""
    if not command.args:
        return command.fail("usage: printf FORMAT [ARG]...", 2)
    form, args = unescape(command.args[0]), command.args[1:]
    wants = sum(1 for found in FORMAT.findall(form) if found != "%")
    while True:
        taken, args = args[:wants], args[wants:]

        def fill(found: re.Match[str], left: list[str] = taken) -> str:
            return "%" if found[1] == "%" else _one(found[1], left.pop(0) if left else "")

        command.out(FORMAT.sub(fill, form))
        if not args or not wants:
            return 0
