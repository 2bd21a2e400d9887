"""The eBPF mode as the proxier's shell knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from podwire.dataplane.commands import AnyCommand, EbpfMapUpdate
from podwire.kube_proxy import addresses
from podwire.kube_proxy.cilium import CiliumConfig
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier
from podwire.kube_proxy.mode import Answers, Argv, Mode, Sync
from podwire.kube_proxy.model import NodeFacts, family_of
from podwire.kube_proxy.modes.ebpf.plan import NOTES, plan_sync

DUMP: Argv = ("cilium-dbg", "status")


@dataclass(frozen=True, slots=True)
class Settings:
    """Hashable: part of the key under which renderings are shared."""

    node_port_ips: tuple[str, ...] = ()
    cilium: CiliumConfig = field(default_factory=CiliumConfig)


class EbpfMode(Mode):
    """See ``podwire.kube_proxy.mode.Mode``. No chores: maps are the agent's own."""

    name = "ebpf"
    title = "ebpf"
    annotations = NOTES
    restore_base_s = 0.001
    restore_per_change_s = 0.000_005
    """One bpf() call per entry: a guess at a few microseconds each."""

    def settings(self, config: Config, node: NodeFacts, family: str) -> Settings:
        """What shapes the state. NodePorts are on the primary address unless told otherwise."""
        own = node.addresses_of(family)
        words = config.node_port_addresses or ("primary",)
        chosen: dict[str, None] = {}
        for word in words:
            if word == "primary":
                chosen.update(dict.fromkeys(own[:1]))
            elif word == "all":
                chosen.update(dict.fromkeys(own))
            elif word != "localhost" and family_of(word) == family:
                net = ip_network(word, strict=False)
                chosen.update(dict.fromkeys(ip for ip in own if ip_address(ip) in net))
        return Settings(tuple(chosen), config.cilium)

    def questions(
        self,
        state: Proxier,  # noqa: ARG002  other modes ask by what is programmed
        *,
        full: bool,
    ) -> tuple[Argv, ...]:
        """Which devices carry the node's addresses."""
        return (addresses.QUESTION,) if full else ()

    def plan(
        self,
        state: Proxier,
        *,
        full: bool,
        existing: Answers,
        now_ns: int,  # noqa: ARG002  other modes' plans need the time
    ) -> Sync | None:
        """The next transaction."""
        return plan_sync(state, _devices(state, existing.get(addresses.QUESTION, "")), full=full)

    def leftover_questions(self, family: str) -> tuple[Argv, ...]:  # noqa: ARG002  of both at once
        """Whether programs are attached."""
        return (DUMP,)

    def leftovers(
        self,
        family: str,  # noqa: ARG002  of both at once
        existing: Answers,
    ) -> tuple[AnyCommand, ...]:
        """Programs are detached and maps unpinned."""
        on = "True" in existing.get(DUMP, "")
        return (EbpfMapUpdate(text="clear\n"),) if on else ()


def _devices(state: Proxier, listing: str) -> tuple[str, ...]:
    """The devices that hold one of the node's addresses."""
    own = state.node.addresses
    found = (device for device, ip in addresses.listed(listing) if ip in own)
    return tuple(dict.fromkeys(found))
