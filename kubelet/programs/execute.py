"""Runs one command line in a container: process 1, or an exec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from podwire.client.counters import ContainerSpec
from podwire.kubelet.env import Layers
from podwire.kubelet.files import normal
from podwire.kubelet.programs import Files
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.shell import scripts
from podwire.kubelet.shell.command import SIGPIPE, ClosedPipeError, Command, Input, UsageError
from podwire.kubelet.shell.executor import Shell, dialect_of, of_script
from podwire.kubelet.shell.find import find
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.lexer import ShellSyntaxError
from podwire.kubelet.shell.parser import parse
from podwire.kubelet.shell.state import Budget, State
from podwire.kubelet.shell.tty import Tty
from podwire.kubelet.shell.variables import Variables
from podwire.runtime.tasks import Nursery

SHELLS = ("sh", "bash", "ash", "zsh", "dash")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def execute(
    env: ExecEnv,
    image: Image,
    argv: Sequence[str],
    signals: Callable[[], Awaitable[str]] | None = None,
) -> int:
    """Run a command line to its end; the exit code. 127 when the image has no such command."""
    if not argv:
        return 0
    out, err, read = env.write_stdout, env.write_stderr, env.read_stdin
    tty = Tty(env.read_stdin, env.write_stdout) if env.tty else None
    if tty is not None:
        out, err, read = tty.write, tty.write, tty.read
    tool = find(image, argv[0])
    if tool is None and (script := of_script(env, image, argv, env.spec.working_dir or "/")):
        argv, tool = script, find(image, script[0])
    if tool is None:
        err(f"{argv[0]}: not modelled\n".encode(errors="surrogateescape"))
        return 127
    given = {"PATH": PATH, "HOME": "/root", "HOSTNAME": env.spec.hostname or env.spec.pod}
    if env.tty:
        given["TERM"] = "xterm"
    variables, cwd = Layers(given, env.spec.env), env.spec.working_dir or "/"
    async with Nursery() as jobs:

        def shell() -> Shell:
            state = State(Variables(variables), dict.fromkeys(variables), [], {}, cwd)
            budget = Budget(env.clock, signals is not None)
            made = Shell(env, image, state, "sh", budget, jobs, signals)
            made.tty = tty
            return made

        command = Command(argv, env, image, shell, variables, Input(read), out, err, cwd, signals)
        if tty is None:
            code = await _guarded(tool(command), command)
        else:
            jobs.start(tty.pump(), name="terminal input")
            work = _guarded(tool(command), command)
            interactive = command.name in SHELLS
            code = await (work if interactive else tty.foreground(work))
        jobs.cancel()
    return code


async def _guarded(work: Awaitable[int], command: Command) -> int:
    """A tool's outcome as an exit code, its errors in the words of the tool."""
    try:
        return await work
    except Flow as flow:
        return flow.value if flow.kind in {"exit", "return"} else 0
    except ClosedPipeError:
        return SIGPIPE
    except UsageError as error:
        return command.fail(str(error), error.code)
    except OSError as error:
        return command.fail(error.strerror or type(error).__name__)


class Started(Protocol):
    """A process that is to be started."""

    @property
    def spec(self) -> ContainerSpec:
        """What it is to run."""

    @property
    def files(self) -> Files:
        """The container's files."""


def objection(image: Image, process: Started) -> str:
    """What a shell's script (``-c`` or a file) uses that is not modelled; "" when nothing."""
    argv, cwd = list(process.spec.argv), process.spec.working_dir or "/"
    try:
        if argv and find(image, argv[0]) is None:
            argv = [*(scripts.words(argv[0], cwd, process.files.read, process.files) or argv[:1]),
                    *argv[1:]]  # fmt: skip
    except PermissionError:
        return ""
    name = argv[0].rpartition("/")[2] if argv else ""
    if name not in SHELLS:
        return ""
    words = argv[1:]
    letters = ""
    while words and words[0][:1] in {"-", "+"} and words[0] not in {"-", "--"}:
        word = words.pop(0)
        letters += word[1:] * (not word.startswith("--"))
        if word.endswith("o") and words:
            words.pop(0)
    if not words:
        return ""
    text = words[0]
    if "c" not in letters:
        try:
            place = normal(text if text.startswith("/") else f"{cwd}/{text}")
            text = process.files.read(place).decode(errors="surrogateescape")
        except OSError:
            return ""
    try:
        parse(text, dialect_of(name, image))
    except ShellSyntaxError as error:
        return f"{name}: {error}" if "not modelled" in str(error) else ""
    return ""
