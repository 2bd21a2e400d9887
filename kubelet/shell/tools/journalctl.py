"""journalctl: what kubelet logged of itself; other units' journals are not modelled."""

from __future__ import annotations

import re

from podwire.api.times import NS, TimeError, parse_time
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.date import render
from podwire.kubelet.shell.tools.grep import pattern

_UNITS = {"second": 1, "sec": 1, "s": 1, "minute": 60, "min": 60, "m": 60, "hour": 3600, "h": 3600,
          "day": 86400, "d": 86400}  # fmt: skip
_PID = 742


async def run(command: Command) -> int:
    """``journalctl [-u UNIT] [-n N] [-f] [-r] [--since TIME] [-g PATTERN] [-o short|cat]``."""
    node, given = command.env.node, _options(command)
    if node is None:
        raise UsageError("not modelled: here is no node's journal")
    unit = given.get("u", "kubelet").removesuffix(".service")
    if unit != "kubelet":
        raise UsageError(f"not modelled: the journal of unit {unit}")
    since_ns = _moment(command, given["since"]) if "since" in given else 0
    wanted = None
    if "g" in given:
        wanted = pattern(given["g"], extended=True, fixed=False, ignore_case=given["g"].islower())
    found = [
        entry for entry in node.journal()
        if entry[0] >= since_ns and (wanted is None or wanted.search(entry[1]))
    ]  # fmt: skip
    last = given.get("n", "10" if "f" in given else "all")
    if last.isdigit():
        found = found[max(len(found) - int(last), 0) :]
    if "r" in given:
        found.reverse()
    for entry in found:
        _show(command, entry, given)
    if not found:
        command.out("-- No entries --\n")
    if "f" in given:
        raise UsageError("not modelled: to follow the journal")
    return 0


def _options(command: Command) -> dict[str, str]:
    given: dict[str, str] = {}
    words = list(command.args)
    long = {"unit": "u", "lines": "n", "since": "since", "grep": "g", "output": "o", "until": "",
            "follow": "f", "reverse": "r", "no-pager": "", "quiet": "",
            "boot": "", "utc": ""}  # fmt: skip
    while words:
        word = words.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("--"):
            if name not in long or name == "until":
                raise UsageError(f"not modelled: {word}")
            name = long[name]
        elif word.startswith("-") and name:
            while name[:1] in {"f", "r", "x", "e", "q", "b", "k"} and len(name) > 1:
                given[name[0]] = ""
                name = name[1:]
            name, value, equals = name[0], name[1:], name[1:]
        else:
            raise UsageError(f"not modelled: {word}")
        if name in {"u", "n", "since", "g", "o", "S"}:
            if name == "n" and not equals and not (words and words[0].isdigit()):
                value = "10"
            elif not equals:
                value = words.pop(0) if words else ""
            given["since" if name == "S" else name] = value
        elif name in {"f", "r", "x", "e", "q", "b", ""}:
            given[name] = ""
        else:
            raise UsageError(f"not modelled: -{name}")
    if given.get("o", "short") not in {"short", "cat", "short-iso"}:
        raise UsageError(f"not modelled: output {given['o']}")
    return given


def _moment(command: Command, text: str) -> int:
    """``--since``: ``-5m``, ``10 min ago``, ``2026-01-01 10:00:00``, ``today``."""
    now_ns = command.env.clock.now_ns()
    found = re.fullmatch(r"-?\s*(\d+)\s*([a-z]+?)s?(?: ago)?", text)
    if found is not None and found[2] in _UNITS:
        return now_ns - int(found[1]) * _UNITS[found[2]] * NS
    if text == "today":
        return now_ns - now_ns % (86400 * NS)
    try:
        day, _, hour = text.strip().partition(" ")
        return parse_time(f"{day}T{hour or '00:00:00'}Z")
    except TimeError:
        raise UsageError(f"Failed to parse timestamp: {text}") from None


def _show(command: Command, entry: tuple[int, str], given: dict[str, str]) -> None:
    at, line = entry
    form = given.get("o", "short")
    if form == "cat":
        command.out(f"{line}\n")
        return
    stamp = render(at, "%b %d %H:%M:%S" if form == "short" else "%Y-%m-%dT%H:%M:%S+00:00")
    command.out(f"{stamp} {command.spec.node} kubelet[{_PID}]: {line}\n")
