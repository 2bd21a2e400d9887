"""cut: fields or characters of lines."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError


def _ranges(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not (low or high) or not (low + high).isdigit():
            raise UsageError(f"invalid field value '{text}'")
        first = int(low or 1)
        found.append((first, int(high) if high else 10**9 if dash else first))
    return found


async def run(command: Command) -> int:
    """``cut (-f LIST [-d CHAR] | -c LIST) [FILE...]``."""
    given = {"-d": "\t"}
    names: list[str] = []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg in {"-f", "-c", "-d"} and args:
            given[arg] = args.pop(0)
        elif arg[:2] in {"-f", "-c", "-d"}:
            given[arg[:2]] = arg[2:]
        elif arg != "-s":
            names.append(arg)
    spans = _ranges(given.get("-f") or given.get("-c") or "")
    for _, data in await command.inputs(names):
        for line in data.decode(errors="surrogateescape").splitlines():
            parts = line.split(given["-d"]) if "-f" in given else list(line)
            if "-f" in given and len(parts) == 1:
                command.out(f"{line}\n")
                continue
            kept = [p for i, p in enumerate(parts, 1) if any(a <= i <= b for a, b in spans)]
            command.out((given["-d"] if "-f" in given else "").join(kept) + "\n")
    return 0
