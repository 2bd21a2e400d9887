r"""portmap: hostPorts of a pod as DNAT rules of its node.

Source: containernetworking/plugins meta/portmap, iptables backend: chains CNI-HOSTPORT-DNAT,
CNI-HOSTPORT-SETMARK (mark 0x2000), CNI-HOSTPORT-MASQ and one CNI-DN-<hash> per container.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Interface

from podwire.api.view import JSON
from podwire.cni.call import Call, not_modelled
from podwire.cni.iptables import chain_of, chains, has_chain, jumps, restore_text, saved_rules
from podwire.cni.spec import INTERNAL, INVALID_CONFIG, CniError, result_from
from podwire.dataplane.commands import RulesRestore

DNAT = "CNI-HOSTPORT-DNAT"
SETMARK = "CNI-HOSTPORT-SETMARK"
MASQ = "CNI-HOSTPORT-MASQ"
MARK = "0x2000/0x2000"
_CHAIN_LENGTH = 28
_MULTIPORT_LIMIT = 15


@dataclass(frozen=True, slots=True)
class Mapping:
    """One entry of ``runtimeConfig.portMappings``."""

    host_port: int
    container_port: int
    protocol: str
    host_ip: str


def mappings(conf: JSON) -> list[Mapping]:
    """The port mappings of a configuration. Raises CniError for impossible ones."""
    found = []
    for entry in (conf.get("runtimeConfig") or {}).get("portMappings") or []:
        mapping = Mapping(
            int(entry.get("hostPort") or 0),
            int(entry.get("containerPort") or 0),
            str(entry.get("protocol") or "tcp").lower(),
            str(entry.get("hostIP") or ""),
        )
        if mapping.host_port == 0:
            continue
        if not (0 < mapping.host_port < 65536 and 0 < mapping.container_port < 65536):
            raise CniError(INVALID_CONFIG, f"invalid port mapping {entry}")
        if ":" in mapping.host_ip:
            raise not_modelled("an IPv6 hostIP")
        found.append(mapping)
    return found


def chain_name(network: str, container_id: str) -> str:
    """``CNI-DN-`` and the head of a SHA-512, 28 characters in all."""
    digest = hashlib.sha512((network + container_id).encode()).hexdigest()
    return f"CNI-DN-{digest}"[:_CHAIN_LENGTH]


def entry_rules(network: str, container_id: str, wanted: list[Mapping]) -> list[str]:
    """The jumps from CNI-HOSTPORT-DNAT into the container's chain, one per protocol."""
    by_protocol: dict[str, list[int]] = {}
    for mapping in wanted:
        by_protocol.setdefault(mapping.protocol, []).append(mapping.host_port)
    comment = f'"dnat name: \\"{network}\\" id: \\"{container_id}\\""'
    chain = chain_name(network, container_id)
    rules: list[str] = []
    for protocol, ports in sorted(by_protocol.items()):
        for start in range(0, len(ports), _MULTIPORT_LIMIT):
            some = ",".join(str(port) for port in ports[start : start + _MULTIPORT_LIMIT])
            rules.append(
                f"-A {DNAT} -p {protocol} -m comment --comment {comment} "
                f"-m multiport --dports {some} -j {chain}"
            )
    return rules


def container_rules(chain: str, subnet: str, address: str, wanted: list[Mapping]) -> list[str]:
    """The container's chain: mark what must be masqueraded (hairpin, loopback), then DNAT."""
    rules: list[str] = []
    for mapping in wanted:
        to = f" -d {mapping.host_ip}/32" if mapping.host_ip not in {"", "0.0.0.0"} else ""
        match = f"{to} -p {mapping.protocol} -m {mapping.protocol} --dport {mapping.host_port}"
        rules.extend((
            f"-A {chain} -s {subnet}{match} -j {SETMARK}",
            f"-A {chain} -s 127.0.0.1/32{match} -j {SETMARK}",
            f"-A {chain}{match} -j DNAT --to-destination {address}:{mapping.container_port}",
        ))  # fmt: skip
    return rules


def shared_rules(saved: list[str]) -> tuple[list[str], list[str]]:
    """The chains and rules that all containers share, as far as they are missing."""
    missing = [chain for chain in (DNAT, SETMARK, MASQ) if chain not in chains(saved)]
    rules = []
    if SETMARK in missing:
        rules.append(
            f'-A {SETMARK} -m comment --comment "CNI portfwd masquerade mark" '
            f"-j MARK --set-xmark {MARK}"
        )
    if MASQ in missing:
        rules.append(f"-A {MASQ} -m mark --mark {MARK} -j MASQUERADE")
    rules.extend(
        f"-A {base} -m addrtype --dst-type LOCAL -j {DNAT}"
        for base in ("PREROUTING", "OUTPUT")
        if DNAT not in jumps(saved, base)
    )
    if MASQ not in jumps(saved, "POSTROUTING"):
        rules.append(
            f'-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j {MASQ}'
        )
    return missing, rules


class Portmap:
    """The chained portmap plugin."""

    async def add(self, call: Call) -> JSON:
        """Program the mappings towards the address that the plugin before gave."""
        previous = call.conf.get("prevResult")
        if not previous:
            raise CniError(INVALID_CONFIG, "must be called as chained plugin")
        result = result_from(previous)
        wanted = mappings(call.conf)
        address = next((ip["address"] for ip in result["ips"] if "." in ip["address"]), "")
        if not wanted or not address:
            return result
        chain = chain_name(call.network, call.container_id)
        async with call.world.lock(call.node, "/run/xtables.lock"):
            saved = await saved_rules(call.world.fabric, call.node, "nat")
            declared, rules = shared_rules(saved)
            subnet = str(IPv4Interface(address).network)
            rules.extend(container_rules(chain, subnet, address.partition("/")[0], wanted))
            rules.extend(entry_rules(call.network, call.container_id, wanted))
            kept = [line for line in saved if line.startswith(f"-A {DNAT} ")]
            await call.run([_rewrite([*declared, chain], rules, kept, chain, saved)])
        return result

    async def delete(self, call: Call) -> None:
        """Remove the container's chain and the jumps to it."""
        chain = chain_name(call.network, call.container_id)
        async with call.world.lock(call.node, "/run/xtables.lock"):
            fabric = call.world.fabric
            if not await has_chain(fabric, call.node, "nat", chain):
                return  # most pods have no host port: their nodes' rules need not be read
            saved = await saved_rules(fabric, call.node, "nat")
            kept = [line for line in saved if line.startswith(f"-A {DNAT} ")]
            kept = [line for line in kept if not line.endswith(f"-j {chain}")]
            text = restore_text({"nat": ((DNAT, chain), (*kept, f"-X {chain}"))})
            await call.run([RulesRestore(text=text)])

    async def check(self, call: Call) -> None:
        """Every mapping must have its DNAT rule."""
        wanted = mappings(call.conf)
        if not wanted:
            return
        chain = chain_name(call.network, call.container_id)
        saved = await saved_rules(call.world.fabric, call.node, "nat")
        present = [line for line in saved if line.startswith("-A") and chain_of(line) == chain]
        for mapping in wanted:
            tail = f":{mapping.container_port}"
            if not any(
                f"--dport {mapping.host_port} " in line and line.endswith(tail) for line in present
            ):
                raise CniError(INTERNAL, f"port mapping {mapping.host_port} is missing in {chain}")

    async def collect(self, call: Call) -> None:
        """Drop the chains of containers that the runtime no longer knows."""
        valid = {
            chain_name(call.network, str(a.get("containerID", "")))
            for a in call.conf.get("cni.dev/valid-attachments") or []
        }
        async with call.world.lock(call.node, "/run/xtables.lock"):
            saved = await saved_rules(call.world.fabric, call.node, "nat")
            stale = [c for c in chains(saved) if c.startswith("CNI-DN-") and c not in valid]
            if not stale:
                return
            kept = [line for line in saved if line.startswith(f"-A {DNAT} ")]
            kept = [line for line in kept if line.rpartition(" ")[2] not in stale]
            lines = (*kept, *(f"-X {chain}" for chain in stale))
            await call.run([RulesRestore(text=restore_text({"nat": ((DNAT, *stale), lines)}))])

    async def status(self, call: Call) -> None:
        """Always ready."""


def _rewrite(
    declared: list[str], rules: list[str], kept: list[str], chain: str, saved: list[str]
) -> RulesRestore:
    """One transaction: shared chains where missing, this container's chain, the jumps to it.

    A second ADD for the same container replaces its jumps instead of doubling them.
    """
    if DNAT in chains(saved):
        declared = [DNAT, *declared]
        kept = [line for line in kept if not line.endswith(f"-j {chain}")]
    return RulesRestore(text=restore_text({"nat": (declared, [*kept, *rules])}))
