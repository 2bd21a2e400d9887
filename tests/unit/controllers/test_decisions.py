"""Pure decisions: deletion order, sizes of a rollout, taints, evictions, hashes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.times import NS, format_time
from podwire.api.views import Deployment, Node, Pod, ReplicaSet
from podwire.client.effects import Delete, RequeueAfter
from podwire.controllers.common import safe_hash, scaled
from podwire.controllers.deployment import sizes
from podwire.controllers.nodeipam.core import allocate, first_free
from podwire.controllers.nodelifecycle.core import UNREACHABLE, wanted_taints
from podwire.controllers.replicaset.ranking import to_delete
from podwire.controllers.tainteviction import core as eviction

NOW = 1_767_300_000 * NS


def pod(name: str, **facts: Any) -> Pod:
    age_s = facts.get("age_s", 100)
    ready = facts.get("ready", True)
    since = format_time(NOW - facts.get("ready_s", age_s) * NS)
    status = {
        "phase": facts.get("phase", "Running"),
        "conditions": [
            {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
        ],
        "containerStatuses": [{"name": "c", "restartCount": facts.get("restarts", 0)}],
    }  # fmt: skip
    cost = facts.get("cost")
    notes = {"controller.kubernetes.io/pod-deletion-cost": str(cost)} if cost is not None else {}
    meta = {
        "name": name,
        "namespace": "default",
        "uid": facts.get("uid", name),
        "annotations": notes,
        "creationTimestamp": format_time(NOW - age_s * NS),
    }
    spec = {"nodeName": facts.get("node", "node-1"), "tolerations": facts.get("tolerations", [])}
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Pod)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("a", node=""), pod("b", ready=False)),
        (pod("a", phase="Pending"), pod("b", phase="Unknown")),
        (pod("a", phase="Unknown"), pod("b")),
        (pod("a", ready=False), pod("b")),
        (pod("a", cost=-5), pod("b", cost=3)),
        (pod("a", ready_s=5, age_s=100), pod("b", ready_s=90, age_s=100)),
        (pod("a", ready=False, restarts=3), pod("b", ready=False, restarts=1)),
        (pod("a", ready=False, age_s=5), pod("b", ready=False, age_s=5000)),
        (pod("x", ready_s=90, uid="1"), pod("y", ready_s=91, uid="2")),
    ],
)
def test_the_pod_that_serves_least_goes_first(first: Pod, second: Pod) -> None:
    """Upstream's order, whichever way round the list is."""
    assert to_delete([first, second], [first, second], 1, NOW) == [first]
    assert to_delete([second, first], [first, second], 1, NOW) == [first]


def test_a_crowded_node_gives_up_its_pod_first():
    """Siblings of the same Deployment on the node count."""
    alone, crowded = pod("a", node="node-1"), pod("b", node="node-2")
    related = [alone, crowded, pod("c", node="node-2")]
    assert to_delete([alone, crowded], related, 1, NOW) == [crowded]


def _rs(name: str, replicas: int, available: int, **more: Any) -> ReplicaSet:
    meta = {"name": name, "creationTimestamp": more.get("made", "2026-01-01T00:00:00Z")}
    return msgspec.convert(
        {
            "metadata": {**meta, "annotations": more.get("notes", {})},
            "spec": {"replicas": replicas},
            "status": {"availableReplicas": available, "replicas": replicas},
        },
        ReplicaSet,
    )


def _deployment(replicas: int, surge: int | str, unavailable: int | str) -> Deployment:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return msgspec.convert({"spec": {"replicas": replicas, "strategy": strategy}}, Deployment)


share = st.one_of(st.integers(0, 6), st.integers(0, 100).map(lambda p: f"{p}%"))


@given(st.integers(0, 12), share, share, st.randoms(use_true_random=False))
def test_every_rollout_ends_and_keeps_its_promises(
    replicas: int, surge: int | str, unavailable: int | str, random: Any
) -> None:
    """Whatever the order in which pods turn ready: never above surge, never below available."""
    deployment = _deployment(replicas, surge, unavailable)
    most = replicas + sizes.max_surge(deployment)
    fewest = replicas - sizes.max_unavailable(deployment)
    old, new = [replicas, replicas], [0, 0]
    for _ in range(20 * replicas + 20):
        sets = [_rs("old", *old), _rs("new", *new, made="2026-01-01T01:00:00Z")]
        wanted = sizes.roll_new(deployment, sets, sets[1])
        wanted = wanted or sizes.roll_old(deployment, sets[:1], sets[1])
        old = [wanted.get("old", old[0]), min(old[1], wanted.get("old", old[0]))]
        new = [wanted.get("new", new[0]), min(new[1], wanted.get("new", new[0]))]
        assert old[0] + new[0] <= most
        assert old[1] + new[1] >= min(fewest, replicas)
        if not wanted and new[1] < new[0]:
            new[1] += random.randint(1, new[0] - new[1])
        elif not wanted:
            break
    assert (old[0], new) == (0, [replicas, replicas])


def test_percentages_round_up_for_surge_and_down_for_unavailable():
    """25 % of 10 is 3 above and 2 below; both zero means one below."""
    assert sizes.fenceposts(_deployment(10, "25%", "25%")) == (3, 2)
    assert sizes.fenceposts(_deployment(3, 0, "10%")) == (0, 1)
    assert scaled("50%", 3, round_up=True) == 2


def test_a_name_safe_hash_is_stable_and_changes_with_collisions():
    """Key order does not matter; the alphabet holds no vowels."""
    one = safe_hash({"a": 1, "b": 2})
    assert one == safe_hash({"b": 2, "a": 1})
    assert one != safe_hash({"a": 1, "b": 2}, 1)
    assert not set(one) & set("aeiou013")


def test_subnets_are_handed_out_lowest_first_until_none_is_left():
    """/30 slices of a /29: two of them."""
    assert first_free("10.0.0.0/29", 30, []) == "10.0.0.0/30"
    assert first_free("10.0.0.0/29", 30, ["10.0.0.0/30"]) == "10.0.0.4/30"
    assert first_free("10.0.0.0/29", 30, ["10.0.0.0/30", "10.0.0.4/30"]) is None


def test_a_node_gets_a_subnet_of_every_family_or_none():
    """The second range being used up leaves the first alone."""
    ranges = "10.244.0.0/16,fd00:10:244::/63"
    assert allocate(ranges, 24, 64, []) == ("10.244.0.0/24", "fd00:10:244::/64")
    used = ["10.244.0.0/24", "fd00:10:244::/64"]
    assert allocate(ranges, 24, 64, used) == ("10.244.1.0/24", "fd00:10:244:1::/64")
    used += ["10.244.1.0/24", "fd00:10:244:1::/64"]
    assert allocate(ranges, 24, 64, used) == ()


def _node(ready: str, *taints: dict[str, str], unschedulable: bool = False) -> Node:
    return msgspec.convert(
        {
            "metadata": {"name": "node-1"},
            "spec": {"taints": list(taints), "unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        },
        Node,
    )


def test_conditions_become_taints_and_strangers_taints_stay():
    """not-ready, unreachable, unschedulable are ours; the user's are not touched."""
    mine = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}

    def taints(node: Node, no_execute: str = "") -> list[str]:
        found = wanted_taints(node, no_execute=no_execute, now_ns=NOW)
        return [f"{t.key.rpartition('/')[2]}:{t.effect}" for t in found]

    assert taints(_node("True", mine)) == ["dedicated:NoSchedule"]
    assert taints(_node("False", mine)) == ["dedicated:NoSchedule", "not-ready:NoSchedule"]
    assert taints(_node("Unknown", unschedulable=True), UNREACHABLE) == [
        "unreachable:NoSchedule",
        "unreachable:NoExecute",
        "unschedulable:NoSchedule",
    ]
    left = {"key": UNREACHABLE, "effect": "NoExecute"}
    assert taints(_node("True", left)) == []


def test_the_shortest_toleration_decides_when_a_pod_must_leave():
    """Untolerated: now. Tolerated for a time: then, from now. Tolerated for good: never."""
    since = format_time(NOW - 10 * NS)
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": since}
    node = _node("True", taint)
    forever = {"key": "k", "operator": "Exists"}
    short = {**forever, "tolerationSeconds": 30}
    assert eviction.due_ns(pod("a", tolerations=[forever]), node, NOW) is None
    assert eviction.due_ns(pod("a"), node, NOW) == NOW
    later = NOW + 30 * NS
    patient = pod("a", tolerations=[short])
    assert eviction.due_ns(patient, node, NOW) == later
    assert eviction.due_ns(pod("a", tolerations=[forever, short]), node, NOW) is None, "the first"
    assert eviction.reconcile(patient, later, NOW) == [RequeueAfter(30.0)]
    assert isinstance(eviction.reconcile(patient, later, later)[-1], Delete)
