"""Runs tests/data/proxyflows (format: its README): a mode programs a modelled node, whose dataplane
then carries each flow. Nothing here knows rules; a mode is asked through the seam only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from podwire.api.views import EndpointSlice, Service
from podwire.dataplane import commands as c
from podwire.dataplane.emit import Deliver, Drop, Emit, ToWire
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import RST, SYN, Frame, Packet, replace
from podwire.dataplane.verdict import Fate
from podwire.dataplane.walk import scripts
from podwire.kube_proxy.config import Config, parse
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import ADDRESS_TYPES, NodeFacts, family_of
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng

DATA = Path(__file__).parents[2] / "data" / "proxyflows"
NODE = "here"
ADDRESSES = ("192.168.0.2", "192.168.1.2", "2001:db8::1", "2001:db8:1::2")
OWN = (*ADDRESSES, "127.0.0.1", "::1")
MACS = {"eth0": "02:00:00:00:00:02", "pods": "02:00:00:00:00:03"}
SECOND_NS = 1_000_000_000


class Case(NamedTuple):
    """One case of one file."""

    file: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.body['name']}"


def cases() -> list[Case]:
    """All cases of all flow files."""
    found = []
    for path in sorted(DATA.glob("*.yaml")):
        body = yaml.safe_load(path.read_text())
        found += [Case(path.stem, case) for case in body["cases"] if "flows" in case]
    return found


def steps(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a case: what is deleted first, if anything, and the flows after that."""
    return [{"flows": case["flows"]}, *case.get("then", ())]


# ---------------------------------------------------------------- objects


def service(key: str, spec: dict[str, Any]) -> Service:
    """A Service of the file's form."""
    spec = dict(spec)
    notes = spec.pop("annotations", {})
    ingress = []
    for text in spec.pop("lb", ()):
        ip, _, mode = str(text).partition(" ")
        ingress.append({"ip": ip, **({"ipMode": mode} if mode else {})})
    namespace, _, name = key.partition("/")
    body = {
        "metadata": {"namespace": namespace, "name": name, "uid": key, "annotations": notes},
        "spec": {"type": "ClusterIP", **spec},
        "status": {"loadBalancer": {"ingress": ingress}},
    }
    return msgspec.convert(body, Service)


def endpoint_slice(key: str, index: int, body: dict[str, Any]) -> EndpointSlice:
    """An EndpointSlice of the file's form."""
    namespace, _, name = key.partition("/")
    ports = []
    for text in body["ports"]:
        port_name, number, *protocol = text.split()
        wire = protocol[0] if protocol else "TCP"
        ports.append({"name": port_name.strip("-"), "port": int(number), "protocol": wire})
    ends = [_endpoint(text) for text in body["at"]]
    family = family_of(ends[0]["addresses"][0]) if ends else "ipv4"
    return msgspec.convert(
        {
            "metadata": {
                "namespace": namespace,
                "name": f"{name}-{index}",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": ADDRESS_TYPES[family],
            "endpoints": ends,
            "ports": ports,
        },
        EndpointSlice,
    )


def _endpoint(text: str) -> dict[str, Any]:
    ip, *words = text.split()
    conditions: dict[str, bool] = {}
    hints: dict[str, list[dict[str, str]]] = {}
    node = ""
    for word in words:
        key, _, value = word.partition("=")
        if key in {"notready", "unserving"}:
            conditions["ready" if key == "notready" else "serving"] = False
        elif key in {"serving", "terminating"}:
            conditions[key] = True
        elif key in {"zone", "node"} and value:
            hints.setdefault("forZones" if key == "zone" else "forNodes", []).append(
                {"name": value}
            )
        else:
            node = word
    made: dict[str, Any] = {"addresses": [ip], "conditions": conditions, "nodeName": node}
    return {**made, "hints": hints} if hints else made


# ---------------------------------------------------------------- the node


def config_of(case: dict[str, Any], mode: str) -> Config:
    """The KubeProxyConfiguration that a case means in a mode."""
    wanted = dict(case.get("config") or {})
    section = {
        key: wanted.pop(key) for key in ("masqueradeAll", "localhostNodePorts") if key in wanted
    }
    cidr = wanted.pop("clusterCIDR", "10.0.0.0/8,fd00:10::/64")
    body = {"mode": mode, "clusterCIDR": cidr, **wanted, "iptables": section, "nftables": section}
    return parse(yaml.safe_dump(body).encode())


class FlowNode:
    """A node that one mode programs."""

    def __init__(self, case: dict[str, Any], mode: str) -> None:
        self.kernel = kernel = Kernel(NODE, SeededRng(1))
        self.now_ns = SECOND_NS
        for device, mac in MACS.items():
            kernel.add_physical(device, mac, arp=False)
        self.run(c.SysctlSet(key="net.ipv4.ip_forward", value="1"))
        self.run(c.SysctlSet(key="net.ipv6.conf.all.forwarding", value="1"))
        for ip in ADDRESSES:
            self.run(c.AddrAdd(dev="eth0", cidr=f"{ip}/{64 if ':' in ip else 24}"))
        self.run(
            c.AddrAdd(dev="pods", cidr="10.0.0.1/8"), c.AddrAdd(dev="pods", cidr="fd00:10::1/32")
        )
        self.run(c.RouteReplace(dst="default", dev="eth0"), c.RouteReplace(dst="::/0", dev="eth0"))
        if case.get("firewalled"):
            text = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
            self.run(c.RulesRestore(text=text), c.RulesRestore(text=text, family="ipv6"))
        config = config_of(case, mode)
        facts = NodeFacts(NODE, "zone-a", ADDRESSES)
        family = case.get("family", "ipv4")
        self.mode = MODES[mode]
        settings = self.mode.settings(config, facts, family)
        self.proxier = Proxier(self.mode, settings, facts, Shared(), family)
        self.run(*self.mode.prepare(settings))
        self.services: dict[str, Service] = {}
        self.slices: dict[str, list[EndpointSlice]] = {}
        for key, spec in case["services"].items():
            self.services[key] = service(key, spec)
            self.proxier.service(None, self.services[key])
        for key, bodies in (case.get("endpoints") or {}).items():
            self.slices[key] = [endpoint_slice(key, i, body) for i, body in enumerate(bodies)]
            for entry in self.slices[key]:
                self.proxier.slice(None, entry)
        self.sync(full=True)

    def run(self, *commands: c.Command) -> None:
        """Execute commands on the node's kernel."""
        for command in commands:
            self.kernel.execute(command, self.now_ns)

    def sync(self, *, full: bool = False) -> None:
        """One round of the proxier."""
        self.now_ns += SECOND_NS
        existing = {}
        for argv in self.mode.questions(self.proxier, full=full):
            stdout, _, code = self.kernel.tool("", list(argv), "", self.now_ns)
            existing[argv] = "" if code else stdout
        plan = self.proxier.plan(full=full, existing=existing, now_ns=self.now_ns)
        if plan is not None:
            self.run(*plan.commands)
            self.proxier.committed(plan)

    def delete(self, what: str) -> None:
        """``ns/name``, or ``endpoints of ns/name``."""
        key = what.removeprefix("endpoints of ")
        if key != what:
            for entry in self.slices.pop(key):
                self.proxier.slice(entry, None)
        else:
            self.proxier.service(self.services.pop(key), None)

    # ------------------------------------------------------------ packets

    def outcome(self, flow: dict[str, Any]) -> tuple[Any, bool]:
        """What becomes of a flow: endpoints or a word (README), and whether it is masqueraded."""
        ends: dict[str, None] = {}
        words: dict[str, None] = {}
        masqueraded = False
        host, _, port = flow["to"].rpartition(":")
        packet = Packet(
            src=flow["from"],
            dst=host.strip("[]"),
            protocol=flow.get("protocol", "tcp"),
            src_port=40000,
            dst_port=int(port),
            tcp_flags=SYN if flow.get("protocol", "tcp") == "tcp" else 0,
            sctp_chunk="init" if flow.get("protocol") == "sctp" else "",
        )
        for emits in self._branches(packet):
            word, end, source = _verdict(emits, packet)
            if end:
                ends[end] = None
                masqueraded |= source != packet.src
            else:
                words[word] = None
        if ends and not words:
            return sorted(ends), masqueraded
        (only,) = words
        return only, False

    def _branches(self, packet: Packet) -> Iterator[list[Emit]]:
        for script in scripts():
            twin = self.kernel.fork()
            twin.chance = script
            twin.open_socket("", "tcp", "", 30000)
            yield self._send(twin, packet)

    def _send(self, kernel: Kernel, packet: Packet) -> list[Emit]:
        inside = packet.src in OWN or packet.src.startswith(("10.", "fd00:10:"))
        if inside and "pod" not in kernel.namespaces():
            kernel.add_netns("pod")
        if inside:
            where = "" if packet.src in OWN else "pod"
            done = kernel.translate_socket(packet, where, self.now_ns)
            if done is not None and done.errno:
                return [Drop(where, Fate.NO_ENDPOINTS, packet, done.errno, errno=done.errno)]
            if done is not None:
                loops = packet.src in {"127.0.0.1", "::1"}
                source = kernel.source_address(where, done.ip) if loops else packet.src
                packet = replace(packet, src=source, dst=done.ip, dst_port=done.port)
        if packet.src in OWN or packet.src in kernel.netns("").local:
            ends = (packet.protocol, packet.src, packet.src_port, packet.dst, packet.dst_port)
            kernel.connect_socket("", *ends)
            return kernel.send("", packet, self.now_ns)
        device = "pods" if packet.src.startswith(("10.", "fd00:10:")) else "eth0"
        frame = Frame(src="02:00:00:00:00:99", dst=MACS[device], packet=packet)
        return kernel.receive(device, frame, self.now_ns)


def _verdict(emits: list[Emit], asked: Packet) -> tuple[str, str, str]:
    """(word, endpoint, source seen there) of one branch."""
    seen = [e.frame.packet for e in emits if isinstance(e, ToWire) and e.frame.packet is not None]
    seen += [e.packet for e in emits if isinstance(e, Deliver)]
    if any(isinstance(e, Drop) and e.errno == "EHOSTUNREACH" for e in emits):
        return "REJECT", "", ""
    if any(p.protocol.startswith("icmp") and p.original is not None for p in seen):
        return "REJECT", "", ""
    for packet in seen:
        if packet.tcp_flags & RST:
            return "-", "", ""
        if (packet.dst, packet.dst_port) != (asked.dst, asked.dst_port):
            host = f"[{packet.dst}]" if ":" in packet.dst else packet.dst
            return "", f"{host}:{packet.dst_port}", packet.src
    if any(isinstance(e, Drop) and (e.rule or e.chain) for e in emits):
        return "DROP", "", ""
    if any(isinstance(e, Deliver) for e in emits):
        return "ACCEPT", "", ""
    return "-", "", ""
