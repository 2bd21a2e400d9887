"""tr: translate or delete characters."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command
from podwire.kubelet.shell.tools.echo import unescape

_CLASSES = {
    "[:upper:]": "A-Z", "[:lower:]": "a-z", "[:digit:]": "0-9", "[:space:]": " \t\n\r\f\v",
    "[:alpha:]": "A-Za-z", "[:alnum:]": "A-Za-z0-9",
}  # fmt: skip


def _set(text: str) -> str:
    for name, chars in _CLASSES.items():
        text = text.replace(name, chars)
    text = unescape(text)

    def span(found: re.Match[str]) -> str:
        return "".join(map(chr, range(ord(found[1]), min(ord(found[2]), ord(found[1]) + 512) + 1)))

    return re.sub(r"(.)-(.)", span, text, flags=re.DOTALL)


async def run(command: Command) -> int:
    """``tr [-c] [-d] [-s] SET1 [SET2]``."""
    options = "".join(arg[1:] for arg in command.args if arg[:1] == "-" and len(arg) > 1)
    sets = [_set(arg) for arg in command.args if arg[:1] != "-" or len(arg) == 1]
    if not sets:
        return command.fail("missing operand")
    text = (await command.stdin.all()).decode(errors="surrogateescape")
    if "c" in options.lower():
        others = "".join(dict.fromkeys(char for char in text if char not in sets[0]))
        sets = [others, sets[1][-1:] * len(others) if len(sets) > 1 else ""][: len(sets)]
    if "d" in options:
        text = text.translate(dict.fromkeys(map(ord, sets[0])))
    elif len(sets) > 1 and sets[1]:
        target = sets[1].ljust(len(sets[0]), sets[1][-1])
        text = text.translate(dict(zip(map(ord, sets[0]), target, strict=False)))
    if "s" in options:
        squeezed = re.escape(sets[-1])
        text = re.sub(f"([{squeezed}])\\1+", r"\1", text) if squeezed else text
    command.out(text)
    return 0
