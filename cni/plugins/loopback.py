"""loopback: sets ``lo`` of the pod's namespace up."""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.cni.call import Call
from podwire.cni.spec import UNKNOWN_CONTAINER, CniError, result_from
from podwire.dataplane.commands import CommandError, LinkSet


class Loopback:
    """Source: containernetworking/plugins main/loopback."""

    async def add(self, call: Call) -> JSON:
        """``ip link set lo up``; the interface name of the call is ignored, as upstream does."""
        await call.run([LinkSet(netns=call.netns, name="lo", up=True)])
        previous = call.conf.get("prevResult")
        if previous:
            return result_from(previous)
        return {
            "interfaces": [
                {"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": call.netns_path}
            ],
            "ips": [{"address": "127.0.0.1/8", "interface": 0}],
            "routes": [],
            "dns": {},
        }  # fmt: skip

    async def delete(self, call: Call) -> None:
        """Set ``lo`` down; a namespace that is gone is fine."""
        if call.netns:
            await call.drop(LinkSet(netns=call.netns, name="lo", up=False))

    async def check(self, call: Call) -> None:
        """The namespace must still be there."""
        answer = await call.world.fabric.tool(
            call.node, call.netns, ("ip", "link", "show", "dev", "lo")
        )
        if answer.code:
            raise CniError(UNKNOWN_CONTAINER, answer.stderr.strip())
        if "UP" not in answer.stdout.partition(">")[0]:
            raise CommandError("loopback interface is down")

    async def collect(self, call: Call) -> None:
        """Nothing is kept."""

    async def status(self, call: Call) -> None:
        """Always ready."""
