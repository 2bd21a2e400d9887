"""calico, chained behind flannel: tells the node's policy agent of a pod, and waits for it.

A pod must be isolated before its first container starts. The plugin leaves a file per endpoint on
the node's disk; the agent answers with a status file once the rules are programmed. Source of the
behaviour: Calico's CNI plugin, policy_setup_timeout_seconds and the endpoint-status directory
(when time is up it goes on). As the main plugin of a network it is not modelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from podwire.api.view import JSON
from podwire.cni.call import Call, not_modelled
from podwire.cni.spec import result_from

ENDPOINTS_DIR = "/var/run/calico/endpoints/"
STATUS_DIR = "/var/run/calico/endpoint-status/"


def pod_of(args: str) -> tuple[str, str]:
    """Namespace and name of the pod in CNI_ARGS; empty when they are not there."""
    pairs = dict(part.partition("=")[::2] for part in args.split(";"))
    return pairs.get("K8S_POD_NAMESPACE", ""), pairs.get("K8S_POD_NAME", "")


class Calico:
    """The chained plugin."""

    async def add(self, call: Call) -> JSON:
        """Announce the endpoint and wait for its policy; passes the result on."""
        previous = call.conf.get("prevResult")
        if not previous:
            raise not_modelled("calico as the main plugin of a network")
        result = result_from(previous)
        namespace, pod = pod_of(call.args)
        if not pod or not result["ips"]:
            return result
        endpoint = {
            "namespace": namespace,
            "pod": pod,
            "ips": [ip["address"].partition("/")[0] for ip in result["ips"]],
        }
        path = ENDPOINTS_DIR + call.container_id
        await call.world.fabric.write_file(call.node, path, msgspec.json.encode(endpoint))
        timeout_s = float(call.conf.get("policy_setup_timeout_seconds") or 0)
        if timeout_s:
            await _programmed(call, timeout_s)
        return result

    async def delete(self, call: Call) -> None:
        """The endpoint is gone."""
        await call.world.fabric.remove_file(call.node, ENDPOINTS_DIR + call.container_id)

    async def check(self, call: Call) -> None:
        """Nothing to hold against the kernel: the rules are the agent's."""

    async def collect(self, call: Call) -> None:
        """Forget endpoints of containers that the runtime no longer knows."""
        valid = [
            str(a.get("containerID", "")) for a in call.conf.get("cni.dev/valid-attachments") or []
        ]
        fabric = call.world.fabric
        for path in await fabric.list_files(call.node, ENDPOINTS_DIR):
            if path.removeprefix(ENDPOINTS_DIR) not in valid:
                await fabric.remove_file(call.node, path)

    async def status(self, call: Call) -> None:
        """Always ready: an absent agent costs time, not the pod."""


async def _programmed(call: Call, timeout_s: float) -> None:
    """Wait until the agent's status file is there, or time is up."""
    wanted = STATUS_DIR + call.container_id
    files = call.world.fabric.watch_files(call.node, wanted)
    try:
        async with asyncio.timeout(timeout_s):
            await _first(files)
    except TimeoutError:
        return  # as upstream: better an unisolated pod than none
    finally:
        close: Any = getattr(files, "aclose", None)
        if close is not None:
            await close()


async def _first(files: AsyncIterator[str]) -> None:
    async for _ in files:
        return
