"""Two independent roads to one verdict: the agent's rule text and the evaluator over objects."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api.views import IPBlock, NetworkPolicy, Pod
from podwire.cni.calico import core
from podwire.cni.calico.peers import without, workloads
from podwire.netpol.evaluator import Evaluator
from tests.unit.kube_proxy.walker import Packet, Tables
from tests.unit.netpol.conftest import API, FAR, SPACES, WEB, namespace, pod, policy

NODES = {"192.168.0.11": "node-1", "192.168.0.12": "node-2"}
SELECT_WEB = {"matchLabels": {"app": "web"}}


def kernel(node: str, pods: Any, spaces: Any, policies: Any) -> Tables:
    tables = Tables()
    tables.restore(core.full_text(node, pods, spaces, policies))
    return tables


def passes(
    kernels: dict[str, Tables], src: str, dst: str, proto: str, port: int, nodes: dict[str, str]
) -> bool:
    """Walk the hooks that a packet meets: FORWARD where it is routed, OUTPUT on its own node,
    INPUT where it ends on a node. ``nodes``: node of each pod address and each node address.
    """
    packet = Packet(src, dst, port, proto)
    for where in dict.fromkeys(filter(None, (nodes.get(src), nodes.get(dst)))):
        chain = "cali-FORWARD"
        if NODES.get(src) == where:
            chain = "cali-OUTPUT"
        elif NODES.get(dst) == where:
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


@settings(max_examples=150, deadline=None)
@given(clusters())
def test_rules_and_objects_agree_on_every_connection(cluster):
    """Every pair of addresses of a random cluster, three ports: the same verdict on both roads."""
    pods, spaces, policies = cluster
    evaluator = Evaluator(pods, spaces, policies, NODES)
    kernels = {node: kernel(node, pods, spaces, policies) for node in ("node-1", "node-2")}
    live = [p for p in pods if p.status.phase == "Running" and not p.spec.host_network]
    nodes = {p.status.pod_ip: p.spec.node_name for p in live} | NODES
    addresses = [*nodes, "203.0.113.1", "203.0.113.200"]
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
