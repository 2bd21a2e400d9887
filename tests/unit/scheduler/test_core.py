"""Where pods go and the words when they go nowhere: the pure half of the scheduler."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import selectors
from podwire.api.views import Node, Pod
from podwire.runtime.rng import SeededRng
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.core import Scheduler
from podwire.scheduler.preemption import preempt
from podwire.scheduler.resources import demand
from podwire.scheduler.terms import default_constraints, info

RNG = SeededRng(1)


def node(name: str, cpu: str = "2", memory: str = "4Gi", pods: str = "110", **spec: Any) -> Node:
    labels = {"kubernetes.io/hostname": name, **spec.pop("labels", {})}
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
        },
        Node,
    )


def pod(name: str, cpu: str = "", memory: str = "", **spec: Any) -> Pod:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    container = {"name": "c", "resources": {"requests": requests}, **spec.pop("container", {})}
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": name,
                "labels": spec.pop("labels", {}),
            },
            "spec": {"containers": [container], **spec},
        },
        Pod,
    )


def cluster(*nodes: Node) -> Cluster:
    made = Cluster()
    for item in nodes:
        made.set_node(item)
    return made


def place(where: Cluster, item: Pod) -> str:
    """Schedule and assume; the node or the message, with what preemption comes to."""
    scheduler = Scheduler(where, RNG)
    made = info(item)
    decision = scheduler.decide(made)
    if decision.node:
        where.set_pod(made, decision.node)
        return decision.node
    if not where.nodes:
        return decision.message
    return f"{decision.message} {preempt(scheduler, made, decision, []).message}"


def test_the_message_counts_reasons_as_upstream_does():
    """A taint, a node that is full, one that is too small: preemption would help on one only."""
    taint = {"key": "dedicated", "effect": "NoSchedule"}
    where = cluster(node("node-1", taints=[taint]), node("node-2"), node("node-3", cpu="1"))
    assert place(where, pod("first", cpu="1500m")) == "node-2"
    assert place(where, pod("second", cpu="1500m")) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_no_nodes_at_all_has_its_own_message():
    """As upstream's ErrNoNodesAvailable."""
    assert place(cluster(), pod("p")) == "no nodes available to schedule pods"


def test_the_message_tells_what_preemption_found():
    """A lower-priority pod holds the CPU."""
    where = cluster(node("node-1"))
    assert place(where, pod("low", cpu="2")) == "node-1"
    message = place(where, pod("high", cpu="1", priority=100))
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement "
        "for pod on node node-1, preempting 1 victims"
    )


@pytest.mark.parametrize(
    ("nodes", "item", "reason"),
    [
        (node("a", unschedulable=True), pod("p"), "node(s) were unschedulable"),
        (
            node("a"),
            pod("p", nodeSelector={"disk": "ssd"}),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (node("a", pods="0"), pod("p"), "Too many pods"),
        (node("a", memory="1Gi"), pod("p", memory="2Gi"), "Insufficient memory"),
        (
            node("a", taints=[{"key": "k", "effect": "NoExecute"}]),
            pod("p"),
            "node(s) had untolerated taint(s)",
        ),
    ],
)
def test_each_filter_has_upstreams_reason(nodes: Node, item: Pod, reason: str) -> None:
    """One node, one reason."""
    assert place(cluster(nodes), item).startswith(f"0/1 nodes are available: 1 {reason}.")


def test_host_ports_conflict_only_on_the_same_protocol_and_address():
    """0.0.0.0 conflicts with everything; UDP does not conflict with TCP."""

    def with_port(name: str, **port: Any) -> Pod:
        return pod(name, container={"ports": [{"containerPort": 53, "hostPort": 53, **port}]})

    where = cluster(node("node-1"))
    assert place(where, with_port("a", hostIP="10.0.0.1")) == "node-1"
    assert place(where, with_port("b", hostIP="10.0.0.2")) == "node-1"
    assert place(where, with_port("c", protocol="UDP")) == "node-1"
    assert "didn't have free ports" in place(where, with_port("d"))


def test_a_daemon_pod_pinned_by_match_fields_goes_to_its_node_only():
    """Other nodes are ruled out by name, and the message says by which plugin."""
    field = {"key": "metadata.name", "operator": "In", "values": ["node-2"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    where = cluster(node("node-1"), node("node-2"))
    assert place(where, pod("d", affinity=affinity)) == "node-2"
    message = place(where, pod("e", cpu="64", affinity=affinity))
    assert "1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]" in message


def test_pods_without_constraints_are_spread_over_hosts_by_who_selects_them():
    """Six pods on three equal nodes: two each, by default constraints."""
    selector = selectors.parse("app=web")
    nodes = cluster(node("node-1"), node("node-2"), node("node-3"))
    scheduler = Scheduler(nodes, RNG, lambda item: default_constraints(item, selector))
    places = []
    for n in range(6):
        made = info(pod(f"p{n}", labels={"app": "web"}))
        places.append(scheduler.decide(made).node)
        nodes.set_pod(made, places[-1])
    assert sorted(places) == ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"]


def test_a_prefer_no_schedule_taint_is_avoided_but_not_forbidden():
    """The tainted node is used only when nothing else is left."""
    soft = node("node-1", taints=[{"key": "k", "effect": "PreferNoSchedule"}])
    where = cluster(soft, node("node-2", cpu="1"))
    assert place(where, pod("a", cpu="1")) == "node-2"
    assert place(where, pod("b", cpu="1")) == "node-1"


def test_ties_are_broken_by_the_seed():
    """Equal nodes, different seeds: different nodes; the same seed: the same node."""

    def first(seed: int) -> str:
        where = cluster(*(node(f"node-{n}") for n in range(5)))
        return Scheduler(where, SeededRng(seed)).decide(info(pod("p"))).node

    assert [first(n) for n in range(20)] == [first(n) for n in range(20)]
    assert len({first(n) for n in range(20)}) > 1


def test_init_containers_count_by_their_largest_and_sidecars_by_sum():
    """max(init) against sum(containers); a restartable init container runs beside them."""
    item = msgspec.convert(
        {
            "metadata": {"name": "p", "uid": "p"},
            "spec": {
                "initContainers": [
                    {"name": "s", "restartPolicy": "Always",
                     "resources": {"requests": {"cpu": "100m"}}},
                    {"name": "i", "resources": {"requests": {"cpu": "1"}}},
                ],
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}],
            },
        },
        Pod,
    )  # fmt: skip
    assert demand(item).requests == {"cpu": 1100}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 11), st.integers(1, 2500), st.sampled_from(["bind", "delete", "node"])
        ),
        max_size=60,
    )
)
def test_no_sequence_of_events_ever_overfills_a_node(steps: list[tuple[int, int, str]]) -> None:
    """Whatever comes and goes, requests never exceed what a node has, and nothing leaks."""
    where = cluster(node("node-1"), node("node-2", cpu="1500m"))
    alive: dict[str, Pod] = {}
    for number, milli, verb in steps:
        name = f"p{number}"
        if verb == "bind" and name not in alive:
            item = pod(name, cpu=f"{milli}m")
            if place(where, item) in where.nodes:
                alive[name] = item
        elif verb == "delete" and name in alive:
            del alive[name]
            where.remove_pod(name)
        elif verb == "node":
            where.remove_node("node-2")
            where.set_node(node("node-2", cpu="1500m"))
        for state in where.nodes.values():
            assert state.requested.get("cpu", 0) <= state.allocatable["cpu"]
    for name in alive:
        where.remove_pod(name)
    assert all(
        not state.pods and not any(state.requested.values()) for state in where.nodes.values()
    )
    assert all(not (state.scored_cpu or state.scored_memory) for state in where.nodes.values())
