"""Runs a command on the node itself, in its own network namespace: what ``ssh NODE`` would do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from podwire.client.counters import ContainerSpec, ToolResult
from podwire.kubelet import programs
from podwire.kubelet.cri import Runtime
from podwire.kubelet.pids import ProcFiles
from podwire.kubelet.programs.env import ExecEnv, no_stdin
from podwire.kubelet.programs.image import NODE_IMAGE
from podwire.kubelet.state import Kubelet

LIMIT_S = 25.0
"""A command that is not over by then is killed: nobody can interrupt it."""
KILLED = 137


async def run(kubelet: Kubelet, argv: Sequence[str], stdin: bytes) -> ToolResult:
    """Run a command to its end over the node's disk and sockets."""
    node, ctx = kubelet.config.node, kubelet.ctx
    owner = f"node-{kubelet.rng.bytes(16).hex()}"
    out, err = bytearray(), bytearray()
    given = [stdin] if stdin else []

    async def read_stdin() -> bytes:
        return given.pop() if given else await no_stdin()

    await kubelet.disk.mirror("/")
    processes = ProcFiles(kubelet.pids)

    def read(path: str) -> bytes:
        if path.startswith("/proc/"):
            return processes.read(path.removeprefix("/proc/"))
        return kubelet.disk.read(path)

    def listed(prefix: str) -> list[str]:
        if prefix.startswith("/proc"):
            return [f"/proc/{name}" for name in processes.list()]
        return kubelet.disk.list(prefix)

    env = ExecEnv(
        spec=_spec(kubelet),
        sockets=ctx.sockets.owned_by(owner),
        fabric=ctx.fabric,
        clock=ctx.clock,
        rng=kubelet.rng.child(owner),
        read_file=read,
        write_file=kubelet.disk.write,
        remove_file=kubelet.disk.remove,
        write_stdout=out.extend,
        write_stderr=err.extend,
        read_stdin=read_stdin,
        list_files=listed,
        kill=partial(kubelet.pids.kill, uid=0),
        node=Runtime(kubelet),
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            code = await programs.exec_command(env, argv)
    except TimeoutError:
        err += f"podwire: killed after {LIMIT_S:g} s on {node}\n".encode()
        code = KILLED
    finally:
        ctx.sockets.release(owner)
    return ToolResult(out.decode(errors="replace"), err.decode(errors="replace"), code)


def _spec(kubelet: Kubelet) -> ContainerSpec:
    """The node as if it were a container of its own namespace."""
    node = kubelet.config.node
    return ContainerSpec(
        id=node,
        node=node,
        netns="",
        namespace="",
        pod=node,
        pod_uid="",
        pod_ip=kubelet.info.address,
        name=node,
        image=NODE_IMAGE,
        argv=(),
        hostname=node,
    )
