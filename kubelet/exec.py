"""Runs a command inside a container: for kubectl exec, for probes and for lifecycle hooks.

The only file that knows both kubelet's containers and the modelled commands.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Sequence
from functools import partial

from podwire.kubelet import programs
from podwire.kubelet.programs.env import ExecEnv
from podwire.kubelet.state import Instance, Kubelet

KILLED = 137
MAX_OUTPUT_BYTES = 10_240
"""What a probe keeps of a command's output (pkg/probe/exec)."""


class Session:
    """A command running in a container (counters.ExecSession)."""

    def __init__(
        self, kubelet: Kubelet, instance: Instance, argv: Sequence[str], tty: bool
    ) -> None:
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue()
        self._stdin_ended = False
        self._output: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        owner = f"exec-{kubelet.rng.bytes(16).hex()}"
        ctx = kubelet.ctx
        env = ExecEnv(
            spec=instance.process.spec,
            sockets=ctx.sockets.owned_by(owner),
            fabric=ctx.fabric,
            clock=ctx.clock,
            rng=kubelet.rng.child(owner),
            read_file=instance.process.files.read,
            write_file=instance.process.write_file,
            remove_file=instance.process.remove_file,
            write_stdout=lambda data: self._write(1, data),
            write_stderr=lambda data: self._write(1 if tty else 2, data),
            read_stdin=self._read_stdin,
            list_files=instance.process.files.list,
            tty=tty,
        )
        self._release = partial(ctx.sockets.release, owner)
        self._task = instance.tasks.start(
            self._run(env, list(argv)), name=f"exec {instance.name} {argv[0]}"
        )
        # A callback, because a task that is cancelled before its first step never runs at all.
        self._task.add_done_callback(self._ended)

    async def _run(self, env: ExecEnv, argv: list[str]) -> int:
        try:
            return await programs.exec_command(env, argv)
        except Exception:  # noqa: BLE001  any bug of a command is that command's failure
            env.write_stderr(traceback.format_exc().encode())
            return 1

    def _ended(self, task: asyncio.Task[int]) -> None:
        self._release()
        self._output.put_nowait((0, b""))
        self._code.set_result(KILLED if task.cancelled() else task.result())

    def _write(self, stream: int, data: bytes) -> None:
        if data:
            self._output.put_nowait((stream, data))

    async def _read_stdin(self) -> bytes:
        if self._stdin_ended:
            return b""
        data = await self._stdin.get()
        self._stdin_ended = not data
        return data

    async def send_stdin(self, data: bytes) -> None:
        """Bytes for stdin; b"" closes it."""
        self._stdin.put_nowait(data)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout) and (2, stderr) bytes until the command ended."""
        while True:
            stream, data = await self._output.get()
            if stream == 0:
                return
            yield stream, data

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self._code)

    def cancel(self) -> None:
        """Kill the command."""
        self._task.cancel()


async def run_captured(
    kubelet: Kubelet, instance: Instance, argv: Sequence[str]
) -> tuple[int, str]:
    """Run a command to its end: its exit code, and stdout and stderr together."""
    session = Session(kubelet, instance, argv, tty=False)
    await session.send_stdin(b"")
    collected = bytearray()
    try:
        async for _, data in session.output():
            collected += data[: MAX_OUTPUT_BYTES - len(collected)]
        return await session.wait(), collected.decode(errors="replace")
    finally:
        session.cancel()
