"""Builtins that name variables: local, declare, unset, let, read, mapfile; and shopt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.kubelet.shell import bash, expand
from podwire.kubelet.shell.arithmetic import ExpansionError, arithmetic
from podwire.kubelet.shell.command import Pipe
from podwire.kubelet.shell.lexer import BASH

if TYPE_CHECKING:
    from podwire.kubelet.shell.executor import Shell
    from podwire.kubelet.shell.streams import Streams

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SHOPTS = (
    "nullglob", "dotglob", "extglob", "globstar", "failglob", "lastpipe", "nocasematch",
    "nocaseglob", "inherit_errexit", "expand_aliases", "checkwinsize", "histappend",
)  # fmt: skip
_IDLE_SHOPTS = ("expand_aliases", "checkwinsize", "histappend", "inherit_errexit")


def _fail(shell: Shell, streams: Streams, message: str, code: int = 1) -> int:
    streams.err(f"{shell.name}: {message}\n".encode(errors="surrogateescape"))
    return code


async def local(shell: Shell, args: list[str], streams: Streams) -> int:
    """``local [-aAirx] NAME[=VALUE]...``: the old value comes back when the function ends."""
    if not shell.locals:
        return _fail(shell, streams, "local: not in a function", 2)
    return _declared(shell, "local", args, streams)


async def declare(shell: Shell, args: list[str], streams: Streams) -> int:
    """``declare [-aAgirxp] NAME[=VALUE]...``: local in a function, unless ``-g``."""
    return _declared(shell, "declare", args, streams)


def _declared(shell: Shell, said: str, args: list[str], streams: Streams) -> int:
    letters = "".join(arg[1:] for arg in args if re.fullmatch(r"[-+][a-zA-Z]+", arg))
    if letters.strip("aAgirx"):
        return _fail(shell, streams, f"not modelled: {said} -{letters.strip('aAgirx')}", 2)
    variables = shell.variables
    for arg in args:
        if re.fullmatch(r"[-+][a-zA-Z]+", arg):
            continue
        name, equals, value = arg.partition("=")
        append = name.endswith("+")
        name = name.removesuffix("+")
        if _NAME.fullmatch(name) is None:
            return _fail(shell, streams, f"{said}: `{arg}': not a valid identifier")
        if equals:
            variables.check((name,))
        if shell.locals and "g" not in letters and name not in shell.locals[-1]:
            shell.locals[-1][name] = bash.keep(variables, name)
            if set(letters) & {"a", "A"}:
                variables.pop(name, None)
        if set(letters) & {"a", "A"}:
            variables.to_array(name)
        if "A" in letters:
            variables.named[name] = None
        if equals:
            if "i" in letters:
                value = str(arithmetic(value, variables))
            variables[name] = (variables.get(name) or "") + value if append else value
        if "x" in letters:
            shell.state.exported[name] = None
        if "r" in letters:
            variables.readonly[name] = None
    return 0


async def unset(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``unset [-fv] NAME... NAME[INDEX]...``."""
    for arg in args:
        if arg in {"-f", "-v"}:
            continue
        name, bracket, index = arg.partition("[")
        if bracket and name in shell.variables.arrays:
            shell.variables.to_array(name).pop(index.rstrip("]"), None)
            continue
        if "-f" not in args:
            shell.variables.pop(name, None)
        shell.state.functions.pop(name, None)
    return 0


async def printf(shell: Shell, args: list[str], streams: Streams) -> int:
    """``printf [-v NAME] FORMAT ARGS...``."""
    if args[:1] != ["-v"] or len(args) < 3 or shell.dialect != BASH:
        return await shell.external(["printf", *args], streams)
    pipe = Pipe()
    status = await shell.external(["printf", *args[2:]], replace(streams, out=pipe.write))
    shell.variables[args[1]] = pipe.taken().decode(errors="surrogateescape")
    return status


async def time(shell: Shell, args: list[str], streams: Streams) -> int:
    """Time a command (busybox): ``time COMMAND``."""
    return await timed(shell, shell.run_text(shlex.join(args), streams), streams)


async def timed(shell: Shell, work: Awaitable[int], streams: Streams) -> int:
    """The clock's time for a piece of work; the processor's is not modelled and told as 0."""
    clock = shell.env.clock
    began_ns = clock.monotonic_ns()
    status = await work
    minutes, rest = divmod((clock.monotonic_ns() - began_ns) / 1e9, 60)
    if shell.dialect == BASH:
        told = f"\nreal\t{minutes:.0f}m{rest:.3f}s\nuser\t0m0.000s\nsys\t0m0.000s\n"
    else:
        told = f"real\t{minutes:.0f}m {rest:.2f}s\nuser\t0m 0.00s\nsys\t0m 0.00s\n"
    streams.err(told.encode())
    return status


async def let(shell: Shell, args: list[str], _streams: Streams) -> int:
    """``let EXPRESSION...``: 1 when the last value is 0."""
    value = 0
    for arg in args:
        value = arithmetic(arg, shell.variables)
    return int(not value)


async def shopt(shell: Shell, args: list[str], streams: Streams) -> int:
    """``shopt [-squ] NAME...``: those that change nothing here are taken."""
    wanted = [arg for arg in args if not arg.startswith("-")]
    for name in wanted:
        if name not in _SHOPTS:
            return _fail(shell, streams, f"shopt: {name}: invalid shell option name")
        if name not in _IDLE_SHOPTS and "-s" in args:
            return _fail(shell, streams, f"not modelled: shopt -s {name}", 2)
    return 0


async def read(shell: Shell, args: list[str], streams: Streams) -> int:
    """``read [-r] [-s] [-p PROMPT] [-t S] [-n N] [-d END] [-a ARRAY] NAME...``."""
    names, given = list(args), {}
    while names and names[0].startswith("-") and len(names[0]) > 1:
        word = names.pop(0)
        for at, letter in enumerate(word[1:], 1):
            if letter in "ptndaNiu":
                given[letter] = word[at + 1 :] or (names.pop(0) if names else "")
                break
            given[letter] = ""
    odd = [letter for letter in given if letter not in "rsptnda"]
    if odd:
        return _fail(shell, streams, f"not modelled: read -{odd[0]}", 2)
    if given.get("p"):
        streams.err(given["p"].encode())
    text, ended = await _line(streams, given)
    if "a" in given:
        ifs = shell.variables.get("IFS", expand.BLANKS)
        words = expand.split(text.strip(ifs), ifs) if text.strip(ifs) else []
        array = shell.variables.to_array(given["a"])
        array.clear()
        array.update({str(i): word for i, word in enumerate(words)})
        return 0 if ended else 1
    try:
        shell.variables.check(names)
    except ExpansionError as error:
        return _fail(shell, streams, f"read: {error}", 2)
    if not names:
        shell.variables["REPLY"] = text
    else:
        _share(shell, names, text)
    return 0 if ended else 1


async def _line(streams: Streams, given: dict[str, str]) -> tuple[str, bool]:
    """What is read, without its end, and whether it had one."""
    if "d" in given:
        data = (await streams.stdin.until(given["d"][:1].encode() or b"\0")).decode(
            errors="surrogateescape"
        )
        end = given["d"][:1] or "\0"
        return data.removesuffix(end), data.endswith(end)
    if "n" in given and given["n"].isdigit():
        data = (await streams.stdin.upto(int(given["n"]))).decode(errors="surrogateescape")
        return data.removesuffix("\n"), bool(data)
    text, ended = "", False
    while True:
        data = (await streams.stdin.line()).decode(errors="surrogateescape")
        ended = data.endswith("\n")
        text += data.removesuffix("\n")
        if "r" in given or not ended or not re.search(r"(?<!\\)(\\\\)*\\$", text):
            break
        text = text[:-1]
    if "r" not in given:
        text = re.sub(r"\\(.)", r"\1", text)
    return text, ended


def _share(shell: Shell, names: list[str], text: str) -> None:
    """Words to names; the last name has the rest."""
    ifs = shell.variables.get("IFS", expand.BLANKS)
    blanks = "".join(c for c in ifs if c in expand.BLANKS)
    rest = text.strip(blanks) if blanks else text
    for i, name in enumerate(names):
        pieces = expand.split(rest, ifs) if i < len(names) - 1 else [rest]
        shell.variables[name] = pieces[0]
        rest = rest[len(pieces[0]) :]
        if ifs and rest and i < len(names) - 1:
            rest = rest.lstrip(blanks)
            if rest[:1] and rest[0] in ifs and rest[0] not in blanks:
                rest = rest[1:].lstrip(blanks)


async def mapfile(shell: Shell, args: list[str], streams: Streams) -> int:
    """``mapfile [-t] [ARRAY]``: lines of stdin to an array."""
    odd = [arg for arg in args if arg.startswith("-") and arg != "-t"]
    if odd:
        return _fail(shell, streams, f"not modelled: mapfile {odd[0]}", 2)
    names = [arg for arg in args if not arg.startswith("-")] or ["MAPFILE"]
    array = shell.variables.to_array(names[0])
    array.clear()
    while line := (await streams.stdin.line()).decode(errors="surrogateescape"):
        array[str(len(array))] = line.removesuffix("\n") if "-t" in args else line
    return 0
