"""awk: runs a program over files (``kubelet/shell/awk`` reads and models it)."""

from __future__ import annotations

import re
from functools import partial

from podwire.kubelet.shell.awk.lexer import unescaped
from podwire.kubelet.shell.awk.machine import Exit, Machine, NextRecord
from podwire.kubelet.shell.awk.parser import Parser, Rule
from podwire.kubelet.shell.awk.values import Input, compiled, text
from podwire.kubelet.shell.command import Command, UsageError, input_of

_SET = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


async def run(command: Command) -> int:
    """``awk [-F SEPARATOR] [-v NAME=VALUE] [-f FILE | 'PROGRAM'] [FILE | NAME=VALUE]...``."""
    source, operands, given = await _options(command)
    if source is None:
        command.err("usage: awk [-F fs][-v var=value] 'prog' [file ...]\n")
        return 2
    parser = Parser(source)
    rules = parser.program()
    machine = Machine(
        out=command.out,
        read_file=partial(_text, command),
        random=command.env.rng.random,
        now_s=lambda: command.env.clock.now_ns() // 10**9,
        environ=command.variables,
        functions=parser.functions,
    )
    for name, value in given:
        machine.set(name, Input(unescaped(value)))
    words = [command.name, *operands]
    machine.arrays["ARGV"] = {str(i): Input(word) for i, word in enumerate(words)}
    machine.values["ARGC"] = float(len(words))
    try:
        await _main(command, machine, rules, operands)
    finally:
        await _write(command, machine)
    return machine.code % 256


async def _options(command: Command) -> tuple[str | None, list[str], list[tuple[str, str]]]:
    """The program (None without one), what follows it, and variables."""
    args, given, sources = list(command.args), [], []
    while args and args[0].startswith("-") and len(args[0]) > 1:
        arg = args.pop(0)
        if arg == "--":
            break
        if arg[:2] not in {"-F", "-v", "-f"}:
            raise UsageError(f"not modelled: option {arg}", 2)
        value = arg[2:] or (args.pop(0) if args else "")
        if arg[:2] == "-F":
            given.append(("FS", "\\t" if value == "t" else value))
        elif arg[:2] == "-f":
            sources.append((await command.load(value)).decode(errors="surrogateescape"))
        else:
            found = _SET.fullmatch(value)
            if found is None:
                raise UsageError(f"improper assignment: -v {value}", 2)
            given.append((found[1], found[2]))
    if not sources:
        sources = [args.pop(0)] if args else []
    return ("\n".join(sources) if sources else None), args, given


def _text(command: Command, name: str) -> str:
    return command.read_file(name).decode(errors="surrogateescape")


async def _main(command: Command, machine: Machine, rules: list[Rule], operands: list[str]) -> None:
    begin, end = ([rule for rule in rules if rule.when == when] for when in ("BEGIN", "END"))
    main = [rule for rule in rules if not rule.when]
    try:
        files = [word for word in operands if word and not _SET.fullmatch(word)]
        reading = bool(main or end)
        if begin and not files and "getline" in "".join(command.args):
            await _open(command, machine, "-")  # BEGIN may read, too
        for rule in begin:
            rule.body(machine)
        if reading:
            await _files(command, machine, main, operands)
    except Exit as ended:
        machine.code = ended.code or 0
    try:
        for rule in end:
            rule.body(machine)
    except Exit as ended:
        machine.code = machine.code if ended.code is None else ended.code


async def _files(command: Command, machine: Machine, main: list[Rule], operands: list[str]) -> None:
    seen = False
    for word in operands:
        found = _SET.fullmatch(word)
        if found is not None:
            machine.set(found[1], Input(unescaped(found[2])))
        elif word:
            seen = True
            machine.values["FILENAME"] = word
            machine.values["FNR"] = 0.0
            try:
                await _open(command, machine, word)
            except UsageError as error:
                machine.code = command.fail(f"cannot open {error}", 2)
                continue
            _records(machine, main)
    if not seen:
        await _open(command, machine, "-")
        _records(machine, main)


async def _open(command: Command, machine: Machine, name: str) -> None:
    data = await command.stdin.all() if name in {"-", "/dev/stdin"} else await command.load(name)
    body = data.decode(errors="surrogateescape")
    if machine.records:
        return
    separator = text(machine.values["RS"])
    if separator == "":
        records = re.split(r"\n\n+", body.strip("\n"))
    elif len(separator) == 1:
        records = body.removesuffix(separator).split(separator)
    else:
        records = re.split(compiled(separator), body.removesuffix("\n"))
    machine.records = records[::-1] if body else []


def _records(machine: Machine, main: list[Rule]) -> None:
    while (line := machine.next_record()) is not None:
        machine.record = line
        machine.step()
        try:
            for rule in main:
                if rule.applies(machine):
                    rule.body(machine)
        except NextRecord:
            continue


async def _write(command: Command, machine: Machine) -> None:
    """What ``print > FILE`` and ``print | COMMAND`` collected."""
    for (how, target), lines in machine.written.items():
        data = "".join(lines).encode(errors="surrogateescape")
        if target == "/dev/stderr" or (how == "|" and target == "cat 1>&2"):
            command.write_err(data)
        elif how == "|":
            piped = Command(
                ["sh", "-c", target], command.env, command.image, command.runner,
                command.variables, input_of(data), command.write_out, command.write_err,
                command.cwd,
            )  # fmt: skip
            await command.runner.run_script(target, "sh", (), piped)
        else:
            before = b""
            if how == ">>":
                try:
                    before = command.read_file(target)
                except UsageError:
                    before = b""
            await command.env.write_file(command.path(target), before + data)
