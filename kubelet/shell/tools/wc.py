"""wc: lines, words, bytes."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``wc [-lwc] [FILE...]``."""
    options = "".join(arg[1:] for arg in command.args if arg.startswith("-")) or "lwc"
    names = [arg for arg in command.args if not arg.startswith("-")]
    for name, data in await command.inputs(names):
        counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
        shown = [str(counts[key]) for key in "lwc" if key in options.replace("m", "c")]
        text = shown[0] if len(shown) == 1 else " ".join(f"{one:>7}" for one in shown)
        command.out(f"{text}{f' {name}' if names else ''}\n")
    return 0
