"""sort: lines, by keys, as numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.kubelet.shell.command import Command, UsageError

_KEY = re.compile(r"(\d{1,6})(?:\.\d+)?([nrb]*)(?:,(\d{1,6})([nrb]*))?")


def _number(line: str) -> float:
    found = re.match(r"\s*-?\d{1,30}(\.\d{1,30})?", line)
    return float(found[0]) if found else 0.0


def _version(text: str) -> list[tuple[int, int, str]]:
    """Numbers inside compare as numbers (-V)."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(p[:30]), "") if p.isdigit() else (1, 0, p) for p in parts]


@dataclass(slots=True)
class _Options:
    letters: str = ""
    separator: str = ""
    keys: list[tuple[int, int, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def _options(command: Command) -> _Options:
    options = _Options()
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg[:2] in {"-k", "-t"}:
            value = arg[2:] or (args.pop(0) if args else "")
            if arg[:2] == "-t":
                options.separator = value
                continue
            found = _KEY.fullmatch(value)
            if found is None or "." in value:
                raise UsageError(f"not modelled: key {value}", 2)
            end = int(found[3]) if found[3] else 1_000_000
            options.keys.append((int(found[1]), end, found[2] + (found[4] or "")))
        elif arg.startswith("-") and len(arg) > 1:
            if arg.strip("-nruVbfs"):
                raise UsageError(f"not modelled: option {arg}", 2)
            options.letters += arg[1:]
        else:
            options.names.append(arg)
    return options


async def run(command: Command) -> int:
    """``sort [-nrufVbs] [-t C] [-k FIRST[,LAST][nr]]... [FILE...]``."""
    options = _options(command)
    lines: list[str] = []
    try:
        inputs = await command.inputs(options.names, "cannot read: {}")
    except UsageError as error:
        raise UsageError(str(error), 2) from None
    for _, data in inputs:
        lines += data.decode(errors="surrogateescape").splitlines()
    everywhere = options.letters
    if "s" not in everywhere and "u" not in everywhere:
        lines.sort(reverse="r" in everywhere)  # the last resort: whole lines
    keys = options.keys or ([(1, 1_000_000, "")] if set(everywhere) & set("nVfb") else [])
    for first, last, own in reversed(keys):
        letters = own or everywhere
        part = _field(options.separator, first, last)
        lines.sort(key=_rank(letters, part), reverse="r" in letters)
    if not keys and "u" in everywhere:
        lines.sort(reverse="r" in everywhere)
    if "u" in everywhere:
        ranks: list[list[object]] = [
            [_rank(own or everywhere, _field(options.separator, a, b))(line) for a, b, own in keys]
            or [line]
            for line in lines
        ]
        lines = [line for i, line in enumerate(lines) if i == 0 or ranks[i] != ranks[i - 1]]
    command.out("".join(f"{line}\n" for line in lines))
    return 0


def _field(separator: str, first: int, last: int) -> Callable[[str], str]:
    """Fields FIRST to LAST; without a separator a field has the blanks before it."""

    def part(line: str) -> str:
        if separator:
            return separator.join(line.split(separator)[first - 1 : last])
        return "".join(re.findall(r"\s*\S+", line)[first - 1 : last])

    return part if (first, last) != (1, 1_000_000) else lambda line: line


def _rank(letters: str, part: Callable[[str], str]) -> Callable[[str], tuple[object, ...]]:
    def rank(line: str) -> tuple[object, ...]:
        text = part(line)
        if "n" in letters:
            return (_number(text),)
        if "b" in letters:
            text = text.lstrip()
        if "V" in letters:
            return tuple(_version(text))
        return (text.upper(),) if "f" in letters else (text,)

    return rank
