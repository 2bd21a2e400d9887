"""grep, egrep, fgrep."""

from __future__ import annotations

import re

from podwire.kubelet.shell.command import Command, UsageError

_FLAGS = frozenset("vicqnEFowxHhLlars")


def pattern(text: str, *, extended: bool, fixed: bool, ignore_case: bool) -> re.Pattern[str]:
    """A POSIX pattern as Python's. Raises UsageError."""
    if fixed:
        source = re.escape(text)
    else:
        source = text if extended else _basic(text)
        for name, chars in _CLASSES.items():
            source = source.replace(f"[:{name}:]", chars)
    try:
        return re.compile(source, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"bad regex '{text}': {error}", 2) from None


_CLASSES = {
    "space": r"\s", "digit": "0-9", "alpha": "A-Za-z", "alnum": "A-Za-z0-9", "upper": "A-Z",
    "lower": "a-z", "blank": r" \t", "xdigit": "0-9A-Fa-f", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip


def _basic(text: str) -> str:
    r"""Basic regular expressions: ``\(`` groups and plain ``(`` is itself."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text):
            out.append(text[i + 1] if text[i + 1] in "(){}|+?" else text[i : i + 2])
            i += 2
        else:
            out.append("\\" + text[i] if text[i] in "(){}|+?" else text[i])
            i += 1
    return "".join(out)


async def run(command: Command) -> int:
    """``grep [-vicqnEFowxHhL] [-e PATTERN] PATTERN [FILE...]``."""
    options: dict[str, None] = {"E": None} if command.name == "egrep" else {}
    if command.name == "fgrep":
        options["F"] = None
    texts: list[str] = []
    rest: list[str] = []
    args = list(command.args)
    while args:
        arg = args.pop(0)
        if arg == "-e" and args:
            texts.append(args.pop(0))
        elif arg.startswith("-") and arg[1:] and set(arg[1:]) <= _FLAGS:
            options.update(dict.fromkeys(arg[1:]))
        elif arg.startswith("-") and len(arg) > 1:
            return command.fail(f"unrecognized option: {arg}", 2)
        else:
            rest.append(arg)
    if not texts:
        if not rest:
            return command.fail("usage: grep PATTERN [FILE]...", 2)
        texts.append(rest.pop(0))
    patterns = [
        pattern(text, extended="E" in options, fixed="F" in options, ignore_case="i" in options)
        for text in texts
    ]
    if "r" in options:
        rest = [
            path for name in rest or ["."] for path in command.env.list_files(command.path(name))
        ]
    try:
        inputs = await command.inputs(rest)
    except UsageError as error:
        raise UsageError(str(error), 2) from None
    matched = [
        _search(command, name, data, patterns, options, len(inputs) > 1) for name, data in inputs
    ]
    return 0 if any(matched) else 1


def _search(
    command: Command,
    name: str,
    data: bytes,
    patterns: list[re.Pattern[str]],
    options: dict[str, None],
    several: bool,
) -> bool:
    count = 0
    shown = f"{name}:" if (several or "H" in options) and "h" not in options else ""
    for number, line in enumerate(data.decode(errors="surrogateescape").splitlines(), 1):
        found = next((m for p in patterns if (m := _match(p, line, options))), None)
        if (found is None) != ("v" in options):
            continue
        count += 1
        if "q" in options or "c" in options or "l" in options:
            continue
        where = shown + (f"{number}:" if "n" in options else "")
        command.out(f"{where}{found[0] if 'o' in options and found else line}\n")
    if "c" in options:
        command.out(f"{shown}{count}\n")
    elif "l" in options and count:
        command.out(f"{name}\n")
    return count > 0


def _match(found: re.Pattern[str], line: str, options: dict[str, None]) -> re.Match[str] | None:
    if "x" in options:
        return found.fullmatch(line)
    if "w" in options:
        return next(
            (
                m for m in found.finditer(line)
                if not re.match(r"\w", line[m.start() - 1 : m.start()] if m.start() else "")
                and not re.match(r"\w", line[m.end() : m.end() + 1])
            ),
            None,
        )  # fmt: skip
    return found.search(line)
