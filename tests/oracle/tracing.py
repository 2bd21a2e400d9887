"""Rule by rule: what the kernel's own tracing says of real packets, against the model's steps.

``xtables-monitor --trace`` tells of iptables rules, ``nft monitor trace`` of nft ones (in which
iptables' rules of the same node appear without their comments: there only the chain is compared).
A question is traced at the node where it starts, from its first hook until it leaves or ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from podwire.dataplane.verdict import Hop, Step
from tests.oracle import model
from tests.oracle.cluster import Cluster, Probe, Survey, node_name
from tests.oracle.deployment import Deployment
from tests.oracle.generate import generate
from tests.oracle.linux import Namespaces, environment, host_of, tool
from tests.oracle.live import Live
from tests.oracle.monitor import DONE, READY, Monitor
from tests.oracle.probing import Prober, Question

FIRST_PORT, LAST_PORT = 25_000, 25_999
PATIENCE_S = 0.7
MARKING = f"""table inet podwire-oracle {{
 chain pre {{ type filter hook prerouting priority -350 ;
  udp sport {FIRST_PORT}-{LAST_PORT} meta nftrace set 1
  tcp sport {FIRST_PORT}-{LAST_PORT} tcp flags & (syn | ack) == syn meta nftrace set 1
 }}
 chain out {{ type filter hook output priority -350 ;
  udp dport {{ {READY}, {DONE} }} meta nftrace set 1
  udp sport {FIRST_PORT}-{LAST_PORT} meta nftrace set 1
  tcp sport {FIRST_PORT}-{LAST_PORT} tcp flags & (syn | ack) == syn meta nftrace set 1
 }}
}}
"""
OWN = "podwire-oracle"
PROGRAMS = {"iptables": ("xtables-monitor", "--trace"), "nftables": ("nft", "monitor", "trace")}
_XT_PACKET = re.compile(r"^PACKET: .*\bSPORT=(\d+)")
_XT_RULE = re.compile(r"^ TRACE: \d+ \S+ \S+:rule:\S+ +-[46] -t (\S+) (-A .*)$")
_NFT = re.compile(r"^trace id \S+ (ip6?|inet) (\S+) (\S+) (packet|rule|policy|verdict)(.*)$")
_NFT_PORT = re.compile(r"\b(?:tcp|udp) sport (\d+)")
_VERDICT = re.compile(r" \(verdict .*\)$")
XT_TABLES = ("raw", "mangle", "nat", "filter", "security")


@dataclass(frozen=True)
class Difference:
    """A packet that the kernel led by other rules than the model."""

    seed: int
    probe: Probe
    answer: str
    linux: list[str]
    model: list[list[str]]


def compare(seed: int, mode: str) -> tuple[int, list[Difference]]:
    """Trace the first survey of a seed's cluster: how many packets were compared, which differ."""
    cluster = replace(generate(seed, mode=mode), tools="nft")
    survey = next(step for step in cluster.steps if isinstance(step, Survey))
    with Namespaces() as spaces, Prober(spaces) as prober:
        live = Live(cluster, spaces, prober)
        deployment = Deployment(cluster, live.command, live.forget)
        deployment.build()
        live.built()
        probes = [p for p in survey.probes if p.node.startswith("node-") and not p.size_bytes]
        answers, told, lost = _traced(cluster, spaces, prober, probes)
    differing, compared = [], 0
    for index, (probe, answer) in enumerate(zip(probes, answers, strict=True)):
        port = FIRST_PORT + index
        if probe.node in lost and port not in told:
            continue
        attempts = model.attempts(deployment.world, probe, port, deployment.now_ns)
        possible = [rules(a.hops, probe, mode) for a in attempts if a.outcome == answer]
        if not possible:
            continue  # judged elsewhere; here TCP may have been too busy to hear of a refusal
        compared += 1
        linux = told.get(port, [])
        if linux not in possible:
            differing.append(Difference(seed, probe, answer, linux, possible))
    return compared, differing


def _traced(
    cluster: Cluster, spaces: Namespaces, prober: Prober, probes: list[Probe]
) -> tuple[list[str], dict[int, list[str]], list[str]]:
    """Answers, by source port the rules that the kernel went through, and the nodes whose monitor
    gave up (its buffer ran over, or an ICMPv6 REJECT was too much for it): what it told of last is
    left out.
    """
    mode = cluster.proxy.mode
    asked = [
        Question(host_of(p.node, p.netns), p.protocol, p.dst, p.port, patience_s=PATIENCE_S)
        for p in probes
    ]
    prober.ask(asked)  # neighbours are found before anything is traced
    with ExitStack() as stack:
        monitors = {
            node: stack.enter_context(_monitor(spaces, prober, node, mode))
            for node in map(node_name, range(1, cluster.nodes + 1))
        }
        answers = []
        for index, question in enumerate(asked):  # one by one: the monitors have small buffers
            answers += prober.ask([question._replace(src_port=FIRST_PORT + index)])
        lost = [node for node, monitor in monitors.items() if not monitor.whole()]
    told: dict[int, list[str]] = {}
    for node, monitor in monitors.items():
        events = list(_events(monitor.text, mode))
        if node in lost and events:
            events = [event for event in events if event[0] != events[-1][0]]
        for port, line in events:
            index = port - FIRST_PORT
            if not 0 <= index < len(probes) or probes[index].node != node:
                continue
            known = told.setdefault(port, [])
            if line not in known[-1:]:
                known.append(line)
    return answers, told, lost


def _monitor(spaces: Namespaces, prober: Prober, node: str, mode: str) -> Monitor:
    spaces.run(node, tool("nft"), "-f", "-", stdin=MARKING)
    program, *words = PROGRAMS[mode]

    def show(port: int) -> None:
        prober.ask([Question(node, "udp", "127.0.0.1", port)])  # refused at once

    spaces.enter(node)
    return Monitor([tool("stdbuf"), "-oL", tool(program), *words], show, environment())


def _events(text: str, mode: str) -> Iterator[tuple[int, str]]:
    """(source port, rule) of every rule that a traced packet matched."""
    port = 0
    for line in text.splitlines():
        if mode == "iptables":
            packet, rule = _XT_PACKET.match(line), _XT_RULE.match(line)
            if packet:
                port = int(packet[1])
            elif rule:
                yield port, f"{rule[1]} {rule[2]}".strip()
            continue
        found = _NFT.match(line)
        if not found or found[2] == OWN:
            continue
        family, table, chain, kind, rest = found.groups()
        sport = _NFT_PORT.search(rest)
        if kind == "packet" and sport:
            port = int(sport[1])
        elif kind == "rule":
            text_ = "" if table in XT_TABLES else _VERDICT.sub("", rest).strip()
            yield port, f"{family} {table} {chain} {text_}".strip()


def rules(hops: list[Hop], probe: Probe, mode: str) -> list[str]:
    """The rules of a walk's first hop that the packet itself met, as ``_events`` tells them."""
    found: list[str] = []
    family = "ip6" if ":" in probe.dst else "ip"
    for step in hops[0].steps if hops else ():
        if step.netns:
            if step.stage == "socket" or step.result == "drop":
                break
            continue
        if step.stage in {"socket", "encap"} or (step.stage == "link" and step.rule == ""):
            break
        line = _line(step, mode, family)
        if line and line not in found[-1:]:
            found.append(line)
        if step.result == "drop" and not line:
            break
        masqueraded = step.result == "masquerade" or step.detail.startswith("masquerade")
        if step.result in {"drop", "reject"} or masqueraded:
            break  # behind a masquerade it has another source port, so nobody knows it
    return found


def _line(step: Step, mode: str, family: str) -> str:
    if not step.rule:
        return ""
    if step.stage in XT_TABLES:
        if mode == "iptables":
            return f"{step.stage} {step.rule}"
        return f"{family} {step.stage} {step.object}"
    return step.rule.partition("  by @")[0]
