"""sh, bash, ash: ``-c SCRIPT``, a script file, or lines from stdin."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.lexer import ShellSyntaxError
from podwire.kubelet.shell.parser import parse
from podwire.kubelet.shell.streams import Streams
from podwire.kubelet.shell.syntax import Sequence


async def run(command: Command) -> int:
    """``sh [-ceilsux] [-o OPTION] [SCRIPT [NAME [ARGS...]]]``."""
    options, args = "", list(command.args)
    while args and args[0][:1] in {"-", "+"} and len(args[0]) > 1:
        word = args.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            continue
        if word.endswith("o") and args:
            options += {"errexit": "e", "xtrace": "x"}.get(args.pop(0), "")
            word = word[:-1]
        options += word[1:]
    prefix = "".join(f"set -{flag}\n" for flag in "ex" if flag in options)
    if "c" in options:
        if not args:
            return command.fail("-c requires an argument", 2)
        script, name = args[0], args[1] if len(args) > 1 else command.argv[0]
        return await command.runner.run_script(prefix + script, name, args[2:], command)
    if args:
        try:
            script = command.read_file(args[0]).decode(errors="surrogateescape")
        except UsageError as error:
            return command.fail(f"can't open '{error}'", 2)
        return await command.runner.run_script(prefix + script, args[0], args[1:], command)
    return await _lines(command, interactive=command.env.tty or "i" in options)


async def _lines(command: Command, *, interactive: bool) -> int:
    """Read commands line by line; an unfinished one takes more lines."""
    shell = command.runner.fresh_shell(command.argv[0], [], command)
    streams = Streams(command.stdin, command.write_out, command.write_err)
    held = ""
    while True:
        if interactive:
            command.err("> " if held else prompt(command, shell.cwd))
        line = (await command.stdin.line()).decode(errors="surrogateescape")
        text = held + line
        try:
            node = parse(text, shell.dialect)
        except ShellSyntaxError as error:
            unfinished = "end of file" in str(error) or "unterminated" in str(error)
            if unfinished and line:
                held = text
                continue
            command.fail(str(error))
            held = ""
            if not line:
                return 2
            continue
        held = ""
        if line and node == Sequence():
            continue
        if not line:
            if interactive:
                command.err("\n")
            return shell.status
        try:
            await shell.run_foreground(node, streams)
        except Flow as flow:
            if flow.kind == "exit":
                return flow.value
        except UsageError as error:
            command.fail(str(error), error.code)


def prompt(command: Command, cwd: str) -> str:
    """What the image's shell prompts with."""
    if command.image.busybox:
        return f"{cwd} # "
    if command.name == "sh":
        return "# "
    return f"root@{command.spec.hostname or command.spec.pod}:{cwd}# "
