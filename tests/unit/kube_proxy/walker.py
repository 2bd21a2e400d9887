"""A naive walk of rule text: every random branch is followed, nothing is remembered.

Independent of the dataplane on purpose: it knows only the matches that the rooms under test emit.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

FINAL = {"ACCEPT", "DROP", "REJECT", "DNAT"}


@dataclass(frozen=True)
class Packet:
    src: str
    dst: str
    dport: int = 80
    proto: str = "tcp"
    mark: int = 0
    state: str = "NEW"


@dataclass
class Tables:
    """Chains of rules by table, fed with restore inputs in --noflush manner."""

    chains: dict[str, dict[str, list[list[str]]]] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Members of ipsets of addresses."""

    def restore(self, text: str) -> None:
        table: dict[str, list[list[str]]] = {}
        for line in text.splitlines():
            words = shlex.split(line)
            if line.startswith("*"):
                table = self.chains.setdefault(line[1:], {})
            elif line.startswith(":"):
                table[words[0][1:]] = []
            elif words[0] == "-A":
                table.setdefault(words[1], []).append(words[2:])
            elif words[0] == "-I":
                table.setdefault(words[1], []).insert(0, words[2:])
            elif words[0] == "-X":
                table.pop(words[1])

    def _is_local(self, ip: str) -> bool:
        return ip.startswith("127.") or ip in self.local

    def _matches(self, rule: list[str], packet: Packet) -> bool:
        words = iter(rule)
        negated = False
        result = True
        for word in words:
            if word == "!":
                negated = True
                continue
            value: bool | None = None
            if word in {"-s", "-d"}:
                ip = packet.src if word == "-s" else packet.dst
                value = ip_address(ip) in ip_network(next(words), strict=False)
            elif word == "-p":
                value = packet.proto == next(words)
            elif word in {"--dport", "--dports"}:
                low, _, high = next(words).partition(":")
                value = int(low) <= packet.dport <= int(high or low)
            elif word in {"--dst-type", "--src-type"}:
                assert next(words) == "LOCAL"
                value = self._is_local(packet.dst if word == "--dst-type" else packet.src)
            elif word == "--mark":
                wanted, _, mask = next(words).partition("/")
                value = packet.mark & int(mask or "0xffffffff", 16) == int(wanted, 16)
            elif word == "--ctstate":
                value = packet.state in next(words).split(",")
            elif word == "--match-set":
                members = self.sets[next(words)]
                value = (packet.dst if next(words) == "dst" else packet.src) in members
            elif word == "--icmpv6-type":
                next(words)  # -p says already that no packet of these tests is one
            elif word == "--rcheck":
                value = False
            elif word in {"-m", "--comment", "--mode", "--probability", "--name", "--seconds"}:
                next(words)
            elif word in {"--reap", "--set"}:
                pass
            elif word in {"-j", "-g"}:
                break
            else:
                raise AssertionError(f"the walker does not know {word} in {rule}")
            if value is not None:
                result = result and value != negated
                negated = False
        return result

    def run(self, table: str, chain: str, packet: Packet) -> list[tuple[str, Packet]]:
        """Every (verdict, packet) that can leave a chain; verdict "" is a return."""
        flying: list[Packet] = [packet]
        out: list[tuple[str, Packet]] = []
        for rule in self.chains.get(table, {}).get(chain, []):
            rest: list[Packet] = []
            for p in flying:
                ended = self._step(table, rule, p)
                rest.extend(q for verdict, q in ended if verdict == "CONTINUE")
                out.extend((verdict, q) for verdict, q in ended if verdict != "CONTINUE")
            flying = rest
        return [*out, *(("", p) for p in flying)]

    def _step(self, table: str, rule: list[str], packet: Packet) -> list[tuple[str, Packet]]:
        if not self._matches(rule, packet):
            return [("CONTINUE", packet)]
        if "-g" in rule:
            return self.run(table, rule[rule.index("-g") + 1], packet)
        if "-j" not in rule:
            return [("CONTINUE", packet)]
        target, *options = rule[rule.index("-j") + 1 :]
        missed = [("CONTINUE", packet)] if "--probability" in rule else []
        if target == "RETURN":
            return [("", packet), *missed]
        if target == "MARK":
            return [("CONTINUE", replace(packet, mark=_marked(packet.mark, options))), *missed]
        if target == "DNAT":
            ip, _, port = options[1].partition(":")
            return [("DNAT", replace(packet, dst=ip, dport=int(port))), *missed]
        if target in FINAL or target == "MASQUERADE":
            return [(target, packet), *missed]
        inner = self.run(table, target, packet)
        return [*((v or "CONTINUE", p) for v, p in inner), *missed]


def _marked(mark: int, options: list[str]) -> int:
    how, text = options
    if how == "--or-mark":
        return mark | int(text, 16)
    if how == "--xor-mark":
        return mark ^ int(text, 16)
    assert how == "--set-xmark", how
    value, _, mask = text.partition("/")
    return (mark & ~int(mask or "0xffffffff", 16)) ^ int(value, 16)


def service_flow(tables: Tables, packet: Packet) -> tuple[str, bool]:
    """What the service rules do to a packet, and whether it is masqueraded.

    "ip:port, ip:port" for translations, REJECT or DROP, "" when the packet passes unchanged.
    """
    outcomes: dict[str, None] = {}
    masqueraded = False
    for verdict, after in tables.run("nat", "KUBE-SERVICES", packet):
        if verdict == "DNAT":
            outcomes[f"{after.dst}:{after.dport}"] = None
        masqueraded |= bool(after.mark & 0x4000)
        for chain in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-PROXY-FIREWALL"):
            verdicts = [v for v, _ in tables.run("filter", chain, after) if v]
            outcomes.update(dict.fromkeys(verdicts[:1]))
    return ", ".join(sorted(outcomes)), masqueraded
