"""Two independent roads to one verdict: the agent's rule text and the evaluator over objects."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api.views import IPBlock, NetworkPolicy, Pod
from podwire.cni.calico import core, ipvs
from podwire.cni.calico.peers import without, workloads
from podwire.netpol.evaluator import Evaluator
from tests.rotation import examples
from tests.unit.kube_proxy.walker import Packet, Tables
from tests.unit.netpol.conftest import API, FAR, SPACES, WEB, namespace, pod, policy

NODES = {"192.168.0.11": "node-1", "192.168.0.12": "node-2"}
NODES6 = {"fd00:192:168::11": "node-1", "fd00:192:168::12": "node-2"}
SELECT_WEB = {"matchLabels": {"app": "web"}}


def kernel(
    node: str, pods: Any, spaces: Any, policies: Any, version: int = 4, *, ipvs: bool = False
) -> Tables:
    tables = Tables(sets={"cali40this-host": tuple(ip for ip, n in NODES.items() if n == node)})
    tables.restore(core.full_text(node, pods, spaces, policies, version, ipvs=ipvs))
    return tables


def passes_by_ipvs(
    kernels: dict[str, Tables],
    src: str,
    door: tuple[str, int],
    to: tuple[str, int],
    proto: str,
    where: tuple[str, str],
) -> bool:
    """Walk the hooks that a packet to a virtual server meets: INPUT with the Service's address and
    OUTPUT with the real server's on the node that balances, FORWARD on the real server's.
    """
    director, home = where
    tables = kernels[director]
    [(verdict, packet)] = tables.run("filter", "cali-INPUT", Packet(src, *door, proto))
    if verdict != "DROP":
        packet = replace(packet, dst=to[0], dport=to[1])
        [(verdict, packet)] = tables.run("filter", "cali-OUTPUT", packet)
        assert verdict == "DROP" or not packet.mark & 0xFFF00000
    if verdict != "DROP" and home != director:
        [(verdict, _)] = kernels[home].run("filter", "cali-FORWARD", Packet(src, *to, proto))
    return verdict != "DROP"


def passes(
    kernels: dict[str, Tables], src: str, dst: str, proto: str, port: int, nodes: dict[str, str]
) -> bool:
    """Walk the hooks that a packet meets: FORWARD where it is routed, OUTPUT on its own node,
    INPUT where it ends on a node. ``nodes``: node of each pod address and each node address.
    """
    packet = Packet(src, dst, port, proto)
    for where in dict.fromkeys(filter(None, (nodes.get(src), nodes.get(dst)))):
        chain = "cali-FORWARD"
        if (NODES | NODES6).get(src) == where:
            chain = "cali-OUTPUT"
        elif (NODES | NODES6).get(dst) == where:
            chain = "cali-INPUT"
        verdicts = [v for v, _ in kernels[where].run("filter", chain, packet)]
        assert len(verdicts) == 1
        if verdicts[0] == "DROP":
            return False
    return True


def test_the_chains_of_one_policy():
    """What a reader of iptables-save sees: objects named, accept mark, final drop."""
    allow = [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}],
              "ports": [{"port": "http"}]}]  # fmt: skip
    made = core.build(
        "node-1", [WEB, API, FAR], SPACES, [policy("lock", SELECT_WEB, ingress=allow)]
    )
    [to_web] = made["cali-to-wl-dispatch"]
    chain = to_web.rpartition(" ")[2]
    assert to_web == f'-d 10.244.1.2/32 -m comment --comment "podwire:pod default/web" -j {chain}'
    assert len(chain) == 23
    *_, jump, returned, drop = made[chain]
    assert drop == ('-m comment --comment "podwire:isolated default/web by default/lock" -j DROP')
    assert returned == "-m mark --mark 0x10000/0x10000 -j RETURN"
    policy_chain = jump.rpartition(" ")[2]
    assert len(policy_chain) == 28
    comment = '-m comment --comment "podwire:networkpolicy default/lock ingress[0]"'
    admit, end = made[policy_chain]
    assert admit == (
        f"-s 10.244.1.3/32 -d 10.244.1.2/32 -p tcp {comment} -m tcp --dport 8080 "
        "-j MARK --set-xmark 0x10000/0x10000"
    )
    assert end == "-m mark --mark 0x10000/0x10000 -j RETURN"
    assert made["cali-from-wl-dispatch"] == ()


def test_without_policies_only_the_frame_is_there():
    """No endpoint chain for pods that nothing isolates, nor for pods of other nodes."""
    frame = core.build("node-1", [WEB, API, FAR], SPACES, [])
    assert len(frame) == 6
    away = core.build("node-1", [WEB, FAR], SPACES, [policy("other/p", {})])
    assert away == frame


def test_an_update_carries_only_what_changed():
    """A second policy touches its chains and the dispatch; removing both empties the rest."""
    lock = policy("lock", SELECT_WEB, ingress=[])
    one = core.build("node-1", [WEB, API], SPACES, [lock])
    two = core.build("node-1", [WEB, API], SPACES, [lock, policy("api", {
        "matchLabels": {"app": "api"}})])  # fmt: skip
    step = core.update(one, two)
    assert step is not None
    web = core.endpoint_chain("cali-tw-", workloads([WEB])[0])
    assert f"-A {web} " not in step.text
    assert core.update(two, two) is None
    back = core.update(two, core.build("node-1", [WEB, API], SPACES, []))
    assert back is not None
    assert back.text.count("-X cali-") == 4


def test_long_lists_of_policies_fit_into_a_comment():
    """iptables comments hold 255 characters; at least one policy is always named."""
    many = [policy(f"{'p' * 60}-{i}") for i in range(20)]
    text = core.isolated_comment("default/web", many)
    assert len(text) <= 255
    assert text.startswith(f"podwire:isolated default/web by default/{'p' * 60}-0,")


@pytest.mark.parametrize(
    ("cidr", "excepted", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.1.0.0/16"], "10.2.0.1", "10.1.0.1"),
        ("0.0.0.0/0", ["10.0.0.0/8", "192.168.0.0/16"], "203.0.113.1", "192.168.3.3"),
        ("10.0.0.0/24", ["10.0.0.0/16"], "", "10.0.0.1"),
    ],
)
def test_exceptions_are_subtracted(cidr, excepted, inside, outside):
    """What is left are plain networks."""
    left = without(IPBlock(cidr=cidr, except_=excepted))
    assert not any(IPv4Address(outside) in n for n in left)
    assert not inside or any(IPv4Address(inside) in n for n in left)


def test_jumps_stay_in_front():
    """Missing: inserted; behind another: moved; in front: left alone."""
    assert "-I FORWARD -j cali-FORWARD" in core.hook_text([":FORWARD ACCEPT [0:0]"])
    behind = ["-A FORWARD -j KUBE-FORWARD", "-A FORWARD -j cali-FORWARD"]
    rest = [":cali-FORWARD - [0:0]", "-A INPUT -j cali-INPUT", "-A OUTPUT -j cali-OUTPUT"]
    assert core.hook_text([*rest, *behind]) == (
        "*filter\n-D FORWARD -j cali-FORWARD\n-I FORWARD -j cali-FORWARD\nCOMMIT\n"
    )
    assert core.hook_text([*rest, *reversed(behind)]) == ""


# ------------------------------------------------------------------ random small clusters

LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]))
REQUIREMENT = st.builds(
    lambda key, op, values: {
        "key": key, "operator": op, **({"values": values} if op.endswith("In") else {})},
    st.sampled_from(["app", "tier"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2),
)  # fmt: skip
SELECTOR = st.builds(
    lambda labels, expressions: {
        **({"matchLabels": labels} if labels else {}),
        **({"matchExpressions": expressions} if expressions else {}),
    },
    LABELS,
    st.lists(REQUIREMENT, max_size=1),
)
BLOCK = st.sampled_from([
    {"cidr": "10.244.1.0/24", "except": ["10.244.1.2/31"]},
    {"cidr": "0.0.0.0/0"},
    {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]},
    {"cidr": "192.168.0.0/24"},
    {"cidr": "203.0.113.0/24", "except": ["203.0.113.0/25"]},
    {"cidr": "fd00:10:244:1::/64", "except": ["fd00:10:244:1::2/127"]},
    {"cidr": "::/0", "except": ["fd00:10:244::/56"]},
    {"cidr": "::/0"},
])  # fmt: skip
PEER = st.one_of(
    st.builds(lambda s: {"podSelector": s}, SELECTOR),
    st.builds(lambda s: {"namespaceSelector": s}, SELECTOR),
    st.builds(lambda a, b: {"podSelector": a, "namespaceSelector": b}, SELECTOR, SELECTOR),
    st.builds(lambda b: {"ipBlock": b}, BLOCK),
)
PORT = st.sampled_from([
    {"port": 80}, {"port": 80, "endPort": 443}, {"protocol": "UDP"}, {"port": "web"},
    {"port": "web", "protocol": "UDP"}, {"port": 53, "protocol": "UDP"}, {},
])  # fmt: skip


def rules(word: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.builds(
        lambda peers, ports: {
            **({word: peers} if peers is not None else {}),
            **({"ports": ports} if ports is not None else {}),
        },
        st.none() | st.lists(PEER, max_size=2),
        st.none() | st.lists(PORT, max_size=2),
    )
    return st.lists(one, max_size=2)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Pod], list[Any], list[NetworkPolicy]]:
    spaces = [namespace("red", **draw(LABELS)), namespace("blue", **draw(LABELS))]
    named = st.sampled_from([(), (("web", 80, "TCP"),), (("web", 8080, "TCP"), ("web", 53, "UDP"))])
    pods = []
    for i in range(draw(st.integers(2, 5))):
        number = draw(st.integers(1, 2))
        host = draw(st.integers(0, 9)) == 0
        ip = f"192.168.0.1{number}" if host else f"10.244.{number}.{i + 2}"
        space = draw(st.sampled_from(["red", "blue"]))
        pods.append(pod(
            f"{space}/p{i}", ip, f"node-{number}", draw(named), labels=draw(LABELS),
            host_network=host, phase=draw(st.sampled_from(["Running"] * 5 + ["Succeeded"])),
        ))  # fmt: skip
    policies = [
        policy(
            f"{draw(st.sampled_from(['red', 'blue']))}/n{i}", draw(SELECTOR),
            ingress=draw(rules("from")), egress=draw(rules("to")),
            types=draw(st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"], None])),
        )
        for i in range(draw(st.integers(1, 3)))
    ]  # fmt: skip
    return pods, spaces, policies


@settings(max_examples=examples(150), deadline=None)
@given(clusters())
def test_rules_and_objects_agree_on_every_connection(cluster):
    """Every pair of addresses of a random cluster, three ports: the same verdict on both roads,
    and in both families.
    """
    pods, spaces, policies = cluster
    evaluator = Evaluator(pods, spaces, policies, NODES | NODES6)
    live = [p for p in pods if p.status.phase == "Running" and not p.spec.host_network]
    four = {p.status.pod_ip: p.spec.node_name for p in live} | NODES
    six = {p.status.pod_ips[1].ip: p.spec.node_name for p in live} | NODES6
    _agree(evaluator, cluster, four, ["203.0.113.1", "203.0.113.200"], 4)
    _agree(evaluator, cluster, six, ["2001:db8::1"], 6)


def _agree(evaluator, cluster, nodes, outside, version):
    kernels = {node: kernel(node, *cluster, version) for node in ("node-1", "node-2")}
    addresses = [*nodes, *outside]
    for src in addresses:
        for dst in addresses:
            if src not in nodes and dst not in nodes:
                continue
            for proto, port in (("tcp", 80), ("tcp", 8080), ("udp", 53)):
                expected = evaluator.verdict(src, dst, proto, port)
                got = passes(kernels, src, dst, proto, port, nodes)
                assert got == expected.allowed, (src, dst, proto, port, expected)


def test_a_named_port_of_egress_stays_within_the_rules_peers():
    """Of two pods that serve the name only the one inside the block may be reached."""
    one = pod("one", "10.244.1.5", ports=[("http", 80, "TCP")])
    two = pod("two", "10.244.1.9", ports=[("http", 8080, "TCP")])
    out = [{"to": [{"ipBlock": {"cidr": "10.244.1.4/30"}}], "ports": [{"port": "http"}]}]
    lock = policy("lock", {"matchLabels": {"app": "api"}}, egress=out, types=["Egress"])
    made = core.build("node-1", [API, one, two], SPACES, [lock])
    admits = [r for c, rules in made.items() if c.startswith("cali-po-") for r in rules][:-1]
    assert [(r.split()[1], r.split("--dport ")[1].split()[0]) for r in admits] == [
        ("10.244.1.5/32", "80")
    ]


# ------------------------------------------------------------------ kube-proxy in IPVS mode

VIRTUAL = ("10.96.0.10", 80)


@settings(max_examples=examples(100), deadline=None)
@given(clusters())
def test_what_ipvs_sends_on_meets_the_same_policies(cluster):
    """By a cluster IP from every pod, by a NodePort of both nodes from everywhere: the verdict of
    the objects for the real server. Direct connections are judged as without IPVS.
    """
    pods, spaces, policies = cluster
    evaluator = Evaluator(pods, spaces, policies, NODES)
    kernels = {n: kernel(n, pods, spaces, policies, ipvs=True) for n in ("node-1", "node-2")}
    live = [p for p in pods if p.status.phase == "Running" and not p.spec.host_network]
    homes = {p.status.pod_ip: p.spec.node_name for p in live}
    nodes = homes | NODES
    for src in [*nodes, "203.0.113.1"]:
        for dst, home in homes.items():
            for proto, port in (("tcp", 80), ("tcp", 8080), ("udp", 53)):
                expected = evaluator.verdict(src, dst, proto, port).allowed
                assert passes(kernels, src, dst, proto, port, nodes) == expected
                doors = [(VIRTUAL, nodes[src])] if src in homes else []
                if src not in homes:
                    # a node that is not its own director comes in from outside
                    doors = [((ip, 30080), n) for ip, n in NODES.items() if NODES.get(src) != n]
                for door, director in doors:
                    if NODES.get(src) == home:
                        continue  # its own node always reaches a pod, and this one came around
                    where = (director, home)
                    got = passes_by_ipvs(kernels, src, door, (dst, port), proto, where)
                    assert got == expected, (src, door, dst, proto, port)


def test_packets_for_the_node_itself_are_not_taken_for_a_services():
    """An egress policy holds for the node's own ports; one outside the range of NodePorts too."""
    lock = policy("lock", {"matchLabels": {"app": "api"}}, egress=[], types=["Egress"])
    tables = kernel("node-1", [API, WEB], SPACES, [lock], ipvs=True)
    packet = Packet(API.status.pod_ip, "192.168.0.11", 22, "tcp")
    [(verdict, _)] = tables.run("filter", "cali-INPUT", packet)
    assert verdict == "DROP"
    [(verdict, marked)] = tables.run("filter", "cali-INPUT", replace(packet, dport=30080))
    assert verdict == ""
    assert marked.mark & 0xFFF00000 not in {0, ipvs.NON_CALI}
    assert tables.run("filter", "cali-INPUT", replace(packet, state="ESTABLISHED")) == [
        ("ACCEPT", replace(packet, state="ESTABLISHED"))
    ]


def test_endpoints_have_marks_of_their_own():
    """FNV-1 of the device's name, as felix has it; positions 0 and 1 are nobody's."""
    names = [f"cali{number:011x}" for number in range(3000)]
    found = ipvs.marks(names)
    assert len(dict.fromkeys(found.values())) == 3000
    assert not {0, ipvs.NON_CALI} & set(found.values())
    assert all(mark & ipvs.MASK == mark for mark in found.values())
    assert ipvs.marks(["a"]) == {"a": ((0x811C9DC5 * 0x01000193 & 0xFFFFFFFF) ^ 97) % 4096 << 20}


def test_the_own_addresses_are_those_of_all_devices_but_ipvs():
    """What ip addr show lists, by family."""
    listing = """1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536
    inet 127.0.0.1/8 scope host lo
    inet6 ::1/128 scope host
2: eth0@if3: <BROADCAST> mtu 1500
    inet 192.168.0.11/24 brd 192.168.0.255 scope global eth0
    inet6 fd00:192:168::11/64 scope global
9: kube-ipvs0: <BROADCAST,NOARP> mtu 1500
    inet 10.96.0.1/32 scope global kube-ipvs0
"""
    assert ipvs.own_addresses(listing, 4) == ["127.0.0.1", "192.168.0.11"]
    assert ipvs.own_addresses(listing, 6) == ["::1", "fd00:192:168::11"]
    assert ipvs.host_set_text(6, ["::1"]) == (
        "create cali60this-host hash:ip family inet6 maxelem 1048576\n"
        "flush cali60this-host\nadd cali60this-host ::1\n"
    )
