"""Cilium's maps as kube-proxy's eBPF mode writes them.

Expected lines are facts of cilium/cilium pkg/loadbalancer/tests/testdata (Apache-2.0, Authors of
Cilium): trafficpolicy, loadbalancer, clusterip (.txtar), and those of
tests/data/cilium_loadbalancer.yaml.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from podwire.dataplane.ebpf import show
from podwire.dataplane.kernel import Kernel
from podwire.kube_proxy.config import ConfigError, parse
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng
from tests.unit.kube_proxy.flows import FlowNode, endpoint_slice, service

MIXED = {
    "type": "LoadBalancer", "clusterIP": "10.96.50.104", "externalTrafficPolicy": "Cluster",
    "internalTrafficPolicy": "Local", "ports": [{"name": "http", "port": 80}], "lb": ["1.1.1.1"],
}  # fmt: skip
ENDS = [{"ports": ["http 80"], "at": ["10.244.1.1 here", "10.244.2.1 other"]}]


def made(spec, ends=ENDS):
    return FlowNode({"services": {"test/echo": spec}, "endpoints": {"test/echo": ends}}, "ebpf")


def dump(node):
    return show.lines(node.kernel.netns("").ebpf)


def test_mixed_policies_make_two_scopes():
    """trafficpolicy.txtar, lbmaps_tp_mixed."""
    lb, cluster = "FLAGS=LoadBalancer+InternalLocal+two-scopes", "ClusterIP+InternalLocal"
    head, tail = "LBALG=undef AFFTimeout=0", "COUNT=0 QCOUNT=0"
    assert dump(made(MIXED)) == [
        "BE: ID=1 ADDR=10.244.1.1:80/TCP STATE=active",
        "BE: ID=2 ADDR=10.244.2.1:80/TCP STATE=active",
        "REV: ID=1 ADDR=1.1.1.1:80",
        "REV: ID=2 ADDR=10.96.50.104:80",
        "REV: ID=3 ADDR=1.1.1.1:80",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=0 {head} COUNT=2 QCOUNT=0 {lb}",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=1 BEID=1 {tail} {lb}",
        f"SVC: ID=1 ADDR=1.1.1.1:80/TCP SLOT=2 BEID=2 {tail} {lb}",
        (
            f"SVC: ID=2 ADDR=10.96.50.104:80/TCP SLOT=0 {head} COUNT=1 QCOUNT=0 "
            f"FLAGS={cluster}+non-routable"
        ),
        f"SVC: ID=2 ADDR=10.96.50.104:80/TCP SLOT=1 BEID=1 {tail} FLAGS={cluster}+non-routable",
        f"SVC: ID=3 ADDR=1.1.1.1:80/TCP/i SLOT=0 {head} COUNT=1 QCOUNT=0 {lb}",
        f"SVC: ID=3 ADDR=1.1.1.1:80/TCP/i SLOT=1 BEID=1 {tail} {lb}",
    ]


def test_affinity_names_its_backends_and_its_timeout():
    """clusterip.txtar: lbmaps, then without its backends (lbmaps5)."""
    spec = {
        "clusterIP": "10.96.50.104", "ports": [{"name": "http", "port": 80}],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 42}},
    }  # fmt: skip
    node = made(spec, [{"ports": ["http 80"], "at": ["10.244.1.1 other"]}])
    flags = "FLAGS=ClusterIP+sessionAffinity+non-routable"
    at = "SVC: ID=1 ADDR=10.96.50.104:80/TCP"
    rev = "REV: ID=1 ADDR=10.96.50.104:80"
    assert dump(node) == [
        "AFF: ID=1 BEID=1",
        "BE: ID=1 ADDR=10.244.1.1:80/TCP STATE=active",
        rev,
        f"{at} SLOT=0 LBALG=undef AFFTimeout=42 COUNT=1 QCOUNT=0 {flags}",
        f"{at} SLOT=1 BEID=1 COUNT=0 QCOUNT=0 {flags}",
    ]
    node.delete("endpoints of test/echo")
    node.sync()
    assert dump(node) == [rev, f"{at} SLOT=0 LBALG=undef AFFTimeout=42 COUNT=0 QCOUNT=0 {flags}"]
    node.delete("test/echo")
    node.sync()
    assert dump(node) == []


def test_a_pod_that_two_services_share_stays_this_nodes_own():
    """One Service goes; the other's backend is still known to be local."""
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}
    both = {"test/a": spec, "test/b": {**spec, "clusterIP": "10.96.0.2"}}
    node = FlowNode({"services": both, "endpoints": dict.fromkeys(both, ENDS)}, "ebpf")
    ebpf = node.kernel.netns("")
    node.delete("test/a")
    node.sync()
    assert list(ebpf.ebpf.endpoints) == ["10.244.1.1"]
    assert len(ebpf.ebpf.backends) == 2
    node.delete("test/b")
    node.sync()
    assert not ebpf.ebpf.endpoints
    assert not ebpf.ebpf.backends


def test_the_second_familys_first_sync_leaves_the_first_familys_entries():
    """Two proxiers, one kernel: each clears only what is its own."""
    node = made({**MIXED, "internalTrafficPolicy": "Cluster"})
    before = dump(node)
    six = Proxier(node.mode, node.proxier.settings, node.proxier.node, Shared(), "ipv6")
    spec = {"clusterIP": "fd00:96::1", "ports": [{"name": "http", "port": 80}]}
    six.service(None, service("test/six", spec))
    six.slice(None, endpoint_slice("test/six", 0, {"ports": ["http 80"], "at": ["fd00:10::5"]}))
    plan = six.plan(full=True, existing={}, now_ns=node.now_ns)
    node.run(*plan.commands)
    after = dump(node)
    assert set(before) < set(after)
    assert any("[fd00:96::1]:80/TCP SLOT=1" in line for line in after)
    node.sync(full=True)
    assert sorted(dump(node)) == after


# ------------------------------------------------------------------ upstream's files as data

CASES = yaml.safe_load(
    (Path(__file__).parents[2] / "data" / "cilium_loadbalancer.yaml").read_text()
)["cases"]


class Agent:
    """A proxier and the kernel whose maps it writes."""

    def __init__(self, case):
        body = {"mode": "ebpf", "cilium": case.get("cilium", {})}
        config = parse(yaml.safe_dump(body).encode())
        address = case.get("node", "1.1.1.1")
        facts = NodeFacts("here", "", (address,) if address else ())
        mode = MODES["ebpf"]
        settings = mode.settings(config, facts, "ipv4")
        self.proxier = Proxier(mode, settings, facts, Shared(), "ipv4")
        self.kernel = Kernel("here", SeededRng(1))
        self.known = {}
        self.full = True

    def step(self, step):
        for key, spec in step.get("objects", {}).items():
            self._put(self.proxier.service, key, service(key, spec))
        for key, slices in step.get("endpoints", {}).items():
            for index, body in enumerate(slices):
                at = f"endpoints of {key}"
                self._put(self.proxier.slice, at, endpoint_slice(key, index, body))
        for key in step.get("delete", ()):
            self._put(
                self.proxier.slice if key.startswith("e") else self.proxier.service, key, None
            )
        plan = self.proxier.plan(full=self.full, existing={}, now_ns=0)
        self.full = False
        for command in plan.commands:
            self.kernel.execute(command, 0)
        self.proxier.programmed = plan.programmed
        return show.lines(self.kernel.netns("").ebpf)

    def _put(self, tell, key, new):
        tell(self.known.get(key), new)
        self.known[key] = new


def expected(step):
    """The lines that a step of the file stands for."""
    lines = list(step.get("others", ()))
    for number, text in step.get("backends", {}).items():
        at, _, state = text.partition(" ")
        lines.append(f"BE: ID={number} ADDR={at} STATE={state or 'active'}")
    for number, at, flags, active, *rest in step.get("frontends", ()):
        ending = rest[0] if rest else []
        head = f"SVC: ID={number} ADDR={at}"
        lines.append(f"REV: ID={number} ADDR={at.partition('/')[0]}")
        lines.append(
            f"{head} SLOT=0 LBALG={rest[1] if rest[1:] else 'undef'} AFFTimeout=0 "
            f"COUNT={len(active)} QCOUNT={len(ending)} FLAGS={flags}"
        )
        lines += [
            f"{head} SLOT={slot} BEID={be} COUNT=0 QCOUNT=0 FLAGS={flags}"
            for slot, be in enumerate([*active, *ending], 1)
        ]
    return sorted(lines)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_maps_are_those_that_upstream_expects(case):
    """Step by step, as each file has them."""
    agent = Agent(case)
    for step in case["steps"]:
        assert agent.step(step) == expected(step)


def test_a_service_may_choose_only_where_the_agent_lets_it():
    """Without bpf-lb-mode-annotation and bpf-lb-algorithm-annotation notes change nothing."""
    case = next(c for c in CASES if c["source"].startswith("svc-forwarding"))
    agent = Agent({**case, "cilium": {}})
    first, second = case["steps"]
    assert agent.step(first) == expected(first)
    agent.proxier.dirty["test/echo"] = None
    agent._put(agent.proxier.service, "test/echo", service("test/echo", {
        **second["objects"]["test/echo"]}))  # fmt: skip
    plan = agent.proxier.plan(full=False, existing={}, now_ns=0)
    assert plan is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("bpf-lb-acceleration: native", 'cilium.bpf-lb-acceleration: "native" is not modelled'),
        ("bpf-lb-dsr-dispatch: geneve", 'cilium.bpf-lb-dsr-dispatch: "geneve" is not modelled'),
        ("bpf-lb-mode: direct", 'cilium.bpf-lb-mode: "direct" is not modelled; choose snat or'),
        ("loadbalancer: {}", "cilium.loadbalancer: not modelled; known are bpf-lb-mode"),
    ],
)
def test_what_is_not_modelled_is_refused_by_name(section, words):
    """XDP acceleration among it."""
    with pytest.raises(ConfigError, match=words):
        parse(f"mode: ebpf\ncilium: {{{section}}}\n".encode())
