"""echo: words and a newline; ``-n``, ``-e``."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command

_ESCAPES = {
    "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "e": "\x1b", "0": "\0",
}  # fmt: skip


def unescape(text: str) -> str:
    """Backslash escapes as echo -e and printf read them."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text):
            out.append(_ESCAPES.get(text[i + 1], text[i : i + 2]))
            i += 2
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


async def run(command: Command) -> int:
    """``echo [-neE] WORDS``."""
    args, newline, escapes = list(command.args), True, False
    while args and args[0][:1] == "-" and args[0][1:] and set(args[0][1:]) <= set("neE"):
        word = args.pop(0)
        newline = newline and "n" not in word
        escapes = ("e" in word) or (escapes and "E" not in word)
    text = " ".join(args)
    command.out((unescape(text) if escapes else text) + ("\n" if newline else ""))
    return 0
