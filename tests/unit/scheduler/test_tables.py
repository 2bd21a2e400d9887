"""The tables of upstream's unit tests, carried over as data, hold for our filters and scores."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from podwire.api.selectors import IN, Requirement, Selector
from podwire.api.view import JSON
from podwire.api.views import Node, Pod, PodDisruptionBudget
from podwire.runtime.rng import SeededRng
from podwire.scheduler import local
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.core import Decision, Scheduler, _normalized, pinned_to
from podwire.scheduler.hints import Change, What, helps
from podwire.scheduler.local import crowded, unwelcome
from podwire.scheduler.preemption import (
    Budgets,
    Candidate,
    Preemption,
    _not_eligible,
    preempt,
    victims_on,
)
from podwire.scheduler.terms import NO_TERMS, PodInfo, default_constraints, info
from podwire.scheduler.topology import Inclusion, Partition, Topology
from podwire.scheduler.verdicts import NO_TOPOLOGY, SKEWED, Refusal, histogram, unavailable
from tests.unit.scheduler.tables import cases, clean, cluster_of, label, pod_of


def verdict(plugin: str, cluster: Cluster, pod: PodInfo, node: str) -> Refusal | None:
    """What one plugin says of a node."""
    state = cluster.nodes[node]
    if plugin in {"InterPodAffinity", "PodTopologySpread"}:
        alone = replace(pod, hard=()) if plugin == "InterPodAffinity" else replace(
            pod, terms=NO_TERMS
        )  # fmt: skip
        found = Topology(cluster, alone, Inclusion(cluster)).refusals(1 << state.slot)
        return found[0][0] if found else None
    spec = pod.pod.spec
    if plugin == "NodeAffinity" and pinned_to(spec) == frozenset():
        return Refusal(plugin, ("pod affinity terms conflict",), True)
    return unwelcome(spec, state.node) or crowded(pod.demand, state)


@pytest.mark.parametrize("case", cases("filters"), ids=label)
def test_filters_refuse_what_upstreams_refuse_for_the_same_reasons(case: JSON) -> None:
    """Node by node: the reasons, and whether taking pods off the node could help."""
    cluster, pod = cluster_of(case)
    if case["plugin"] in {"NodePorts", "TaintToleration", "NodeUnschedulable"}:
        spec = msgspec.structs.replace(pod.pod.spec, node_name="")
        pod = replace(pod, pod=msgspec.structs.replace(pod.pod, spec=spec))
    for node, wanted in case["want"].items():
        found = verdict(case["plugin"], cluster, pod, node)
        if wanted is None:
            assert found is None, node
        elif isinstance(wanted, str):
            assert found is not None
            # Upstream's table has codes alone; PodTopologySpread has one reason for each.
            assert found.final == (wanted == "UnschedulableAndUnresolvable"), node
            assert found is (NO_TOPOLOGY if found.final else SKEWED), node
        else:
            assert found is not None, node
            assert (list(found.reasons), found.final) == (wanted["reasons"], wanted["final"])


def scored(case: JSON, cluster: Cluster, pod: PodInfo) -> dict[str, int]:
    """What one plugin gives to each node of a case, normalized."""
    plugin = case["plugin"]
    names = [node["metadata"]["name"] for node in case["nodes"]]
    states = {name: cluster.nodes[name] for name in names}
    mask = sum(1 << state.slot for state in states.values())
    topology = Topology(cluster, pod, Inclusion(cluster))
    parts: Partition
    if plugin == "InterPodAffinity":
        parts = topology.liking_scores(mask)
    elif plugin == "PodTopologySpread":
        soft, own = pod.soft, True
        if case.get("service") is not None:
            terms = tuple(Requirement(k, IN, (v,)) for k, v in case["service"].items())
            soft, own = default_constraints(pod.pod, Selector(terms)), False
        parts = topology.spread_scores(mask, soft, own=own)
    elif plugin in {"TaintToleration", "NodeAffinity"}:
        taints = plugin == "TaintToleration"
        count = local.disliked_taints if taints else local.preferred_weight
        raw: dict[int, int] = {}
        for state in states.values():
            value = count(pod.pod.spec, state.node)
            raw[value] = raw.get(value, 0) | 1 << state.slot
        parts = _normalized(raw, mask, -1 if taints else 1)
    else:
        images = [local._normalized(c.image) for c in pod.pod.spec.init_containers]
        images += [local._normalized(c.image) for c in pod.pod.spec.containers]
        return {
            name: {
                "ImageLocality": lambda s: local.image_locality(images, s, cluster),
                "NodeResourcesFit": lambda s: local.least_allocated(pod.demand, s),
                "NodeResourcesBalancedAllocation": lambda s: local.balanced(pod.demand, s),
            }[plugin](state)
            for name, state in states.items()
        }
    return {
        name: int(value)
        for value, part in parts
        for name, state in states.items()
        if (part >> state.slot) & 1
    }


@pytest.mark.parametrize("case", cases("scores"), ids=label)
def test_scores_are_upstreams(case: JSON) -> None:
    """The normalized score of every node."""
    cluster, pod = cluster_of(case)
    found = scored(case, cluster, pod)
    wanted = case["want"] or dict.fromkeys(found, 0)
    assert found == wanted


@pytest.mark.parametrize("case", cases("hints"), ids=label)
def test_queueing_hints_are_upstreams(case: JSON) -> None:
    """Whether a change may help a pod that the plugin refused."""
    pod = info(pod_of(case["pod"], "incoming"))
    view = Node if case["what"].startswith("Node") else Pod
    old, new = (
        None if body is None else msgspec.convert(clean(body), view)
        for body in (case.get("old"), case.get("new"))
    )
    change = Change(What(case["what"]), old, new)
    assert helps(case["plugin"], pod, change) is case["want"]


def preempted(case: JSON, cluster: Cluster, pod: PodInfo) -> Preemption:
    """What preemption comes to when the nodes were refused as the case says, or by the filters."""
    scheduler = Scheduler(cluster, SeededRng(1))
    if "statuses" in case:
        full = Refusal("fake", ("full",), False)
        statuses = tuple(
            (full if code == "Unschedulable" else full._replace(final=True),
             1 << cluster.nodes[node].slot)
            for node, code in case["statuses"].items()
        )  # fmt: skip
        decision = Decision("", "", (), statuses, len(cluster.nodes))
    else:
        decision = scheduler.decide(pod)
    assert not decision.node
    return preempt(scheduler, pod, decision, budgets_of(case))


def budgets_of(case: JSON) -> list[PodDisruptionBudget]:
    """The budgets of a case, in its pods' namespace."""
    return [msgspec.convert(clean(budget), PodDisruptionBudget) for budget in case["pdbs"]]


@pytest.mark.parametrize("case", cases("preemption"), ids=label)
def test_preemption_chooses_upstreams_victims_and_nodes(case: JSON) -> None:
    """Victims on a node, the best of several nodes, eligibility, and the message."""
    cluster, pod = cluster_of(case)
    want, ask = case["want"], case["plugin"]
    if ask == "victims":
        scheduler = Scheduler(cluster, SeededRng(1))
        found = victims_on(scheduler, pod, cluster.nodes[case["node"]], Budgets(budgets_of(case)))
        if want["refused"]:
            assert isinstance(found, Refusal)
            assert found.final
        else:
            assert isinstance(found, Candidate)
            assert [v.pod.metadata.name for v in found.victims] == want["victims"]
            assert found.violations == want["violations"]
        return
    if ask == "eligible":
        state = cluster.nodes.get(pod.pod.status.nominated_node_name)
        final = case["final"] and state is not None
        status = (Refusal("fake", ("no",), True), 1 << state.slot) if final and state else None
        decision = Decision("", "", (), (status,) if status else ())
        assert (not _not_eligible(Scheduler(cluster, SeededRng(1)), pod, decision)) is want
        return
    came = preempted(case, cluster, pod)
    if ask == "best":
        assert came.node in want
    elif ask == "message":
        assert came.node == want["node"]
        if want["code"] == "Unschedulable":
            assert [came.message] == want["reasons"]
    else:
        assert sorted(v.pod.metadata.name for v in came.victims) == want["victims"]
        assert (came.node or None) == want["node"]


APP, TIER = {"app": "foo"}, {"tier": "backend"}


@pytest.mark.parametrize(
    ("pods", "pdbs", "violating"),
    [
        ([], [], []),
        ([("p1", APP)], [({"app": "bar"}, 0, ())], []),
        ([("p1", APP)], [(APP, 1, ())], []),
        ([("p1", APP)], [(APP, 0, ())], ["p1"]),
        ([("p1", {})], [(APP, 0, ())], []),
        ([("p1", APP), ("p2", APP)], [(APP, 1, ())], ["p2"]),
        ([("p1", APP)], [(APP, 0, ("p1",))], []),
        ([("p1", APP)], [({}, 0, ())], []),
        ([("p1", APP | TIER)], [(APP, 1, ()), (TIER, 0, ())], ["p1"]),
    ],
)
def test_victims_violate_the_budgets_that_they_violate_upstream(pods, pdbs, violating):
    """TestFilterVictimsWithPDBViolation; a budget: labels, disruptions allowed, disrupted pods."""
    budgets = [
        msgspec.convert(
            {
                "metadata": {"name": str(number), "namespace": "default"},
                "spec": {"selector": {"matchLabels": labels}},
                "status": {
                    "disruptionsAllowed": allowed,
                    "disruptedPods": dict.fromkeys(gone, "2026-01-01T00:00:00Z"),
                },
            },
            PodDisruptionBudget,
        )
        for number, (labels, allowed, gone) in enumerate(pdbs)
    ]
    bodies = [{"metadata": {"name": n, "namespace": "default", "labels": ls}} for n, ls in pods]
    harsh, gentle = Budgets(budgets).split([info(pod_of(b, b["metadata"]["name"])) for b in bodies])
    assert [pod.pod.metadata.name for pod in harsh] == violating
    assert [pod.pod.metadata.name for pod in gentle] == [n for n, _ in pods if n not in violating]


def test_reasons_are_counted_and_sorted_as_upstream():
    """TestFitError_Error: by the text of the count and the reason."""
    one, two = (f"Node(s) failed Filter plugin FalseFilter-{n}" for n in (1, 2))
    assert unavailable(3, histogram([(one, 3)])) == f"0/3 nodes are available: 3 {one}."
    told = histogram([(one, 1), (one, 1), (two, 1)])
    assert unavailable(3, told) == f"0/3 nodes are available: 1 {two}, 2 {one}."
