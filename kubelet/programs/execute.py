"""Runs one command line in a container: process 1, or an exec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from podwire.kubelet.env import Layers
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.programs.image import Image
from podwire.kubelet.shell.command import SIGPIPE, ClosedPipeError, Command, Input, UsageError
from podwire.kubelet.shell.executor import Shell, of_script
from podwire.kubelet.shell.find import find
from podwire.kubelet.shell.flow import Flow
from podwire.kubelet.shell.state import Budget, State
from podwire.kubelet.shell.tty import Tty
from podwire.kubelet.shell.variables import Variables
from podwire.runtime.tasks import Nursery

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
            interactive = command.name in {"sh", "bash", "ash", "zsh", "dash"}
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
