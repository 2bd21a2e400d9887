"""The indexed scheduler says what the exhaustive one says, whatever came and went before."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import selectors
from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.runtime.rng import SeededRng
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.core import Scheduler
from podwire.scheduler.terms import Constraint, default_constraints, info
from podwire.scheduler.verdicts import histogram, unavailable
from tests.unit.scheduler.naive import HOST, ZONE, World

KEYS = (HOST, ZONE, "rack")
STEPS = 25


class Twins:
    """One random history told to both schedulers."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)  # noqa: S311  a test's own choices
        self.world = World(default=selectors.parse("app=a"))
        self.cluster = Cluster()
        self.scheduler = Scheduler(self.cluster, SeededRng(seed), self._default, percentage=100)
        self.number = 0
        for name in ("one", "two"):
            self.set_namespace(name)
        for _ in range(self.pick.randint(2, 7)):
            self.set_node(f"n{self.pick.randint(0, 9)}")

    def _default(self, pod: Pod) -> tuple[Constraint, ...]:
        assert self.world.default is not None
        return default_constraints(pod, self.world.default)

    # ------------------------------------------------------------ what happens

    def set_namespace(self, name: str) -> None:
        labels = {"team": self.pick.choice(("red", "blue"))}
        self.world.namespaces[name] = labels
        self.cluster.set_namespace(name, labels)

    def set_node(self, name: str) -> None:
        labels = {HOST: name} if self.pick.random() < 0.9 else {}
        if self.pick.random() < 0.8:
            labels[ZONE] = self.pick.choice("xyz")
        if self.pick.random() < 0.5:
            labels["rack"] = self.pick.choice("pq")
        taints = [
            {"key": key, "effect": effect}
            for key, effect in (("t", "NoSchedule"), ("u", "PreferNoSchedule"))
            if self.pick.random() < 0.2
        ]
        amounts = {"cpu": "4", "memory": "8Gi", "pods": str(self.pick.randint(2, 6))}
        node = msgspec.convert(
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {"taints": taints, "unschedulable": self.pick.random() < 0.1},
                "status": {"allocatable": amounts},
            },
            Node,
        )
        self.world.nodes[name] = node
        self.cluster.set_node(node)

    def remove_node(self) -> None:
        if len(self.world.nodes) > 1:
            name = self.pick.choice(sorted(self.world.nodes))
            del self.world.nodes[name]
            self.cluster.remove_node(name)

    def remove_pod(self) -> None:
        if self.world.pods:
            uid = self.pick.choice(sorted(self.world.pods))
            del self.world.pods[uid]
            self.cluster.remove_pod(uid)

    def relabel_pod(self) -> None:
        """A placed pod gets other labels, or begins to terminate."""
        if not self.world.pods:
            return
        uid = self.pick.choice(sorted(self.world.pods))
        pod, node = self.world.pods[uid]
        meta = msgspec.structs.replace(
            pod.metadata,
            labels={"app": self.pick.choice("abc")},
            deletion_timestamp="2026-01-01T00:00:00Z" if self.pick.random() < 0.3 else "",
        )
        changed = msgspec.structs.replace(pod, metadata=meta)
        self.world.pods[uid] = changed, node
        self.cluster.set_pod(changed, node)

    # ------------------------------------------------------------ pods

    def pod(self) -> Pod:
        self.number += 1
        pick = self.pick
        spec: JSON = {"containers": [{"name": "c", "image": "x", "resources": {"requests": {
            name: text for name, text in (
                ("cpu", pick.choice(("100m", "1", "3"))), ("memory", pick.choice(("1Gi", "4Gi"))),
            ) if pick.random() < 0.7
        }}}]}  # fmt: skip
        if pick.random() < 0.2:
            port = {"containerPort": 1, "hostPort": pick.choice((80, 81)), "protocol": "TCP"}
            spec["containers"][0]["ports"] = [port]
        if pick.random() < 0.2:
            spec["tolerations"] = [{"key": pick.choice("tu"), "operator": "Exists"}]
        if pick.random() < 0.2:
            spec["nodeSelector"] = {ZONE: pick.choice("xyz")}
        if pick.random() < 0.5:
            spec["topologySpreadConstraints"] = [
                self._constraint() for _ in range(pick.randint(1, 2))
            ]
        affinity = {
            name: self._affinity()
            for name in ("podAffinity", "podAntiAffinity")
            if pick.random() < 0.4
        }
        if pick.random() < 0.3:
            affinity["nodeAffinity"] = self._node_affinity()
        uid = f"p{self.number}"
        labels = {"app": pick.choice("abc")}
        meta = {"name": uid, "uid": uid, "namespace": pick.choice(("one", "two"))}
        body = {"metadata": {**meta, "labels": labels}, "spec": {**spec, "affinity": affinity}}
        return msgspec.convert(body, Pod)

    def _selector(self) -> JSON:
        apps = self.pick.sample("abc", self.pick.randint(1, 2))
        return {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]}

    def _constraint(self) -> JSON:
        pick = self.pick
        made: JSON = {
            "maxSkew": pick.randint(1, 2),
            "topologyKey": pick.choice(KEYS),
            "whenUnsatisfiable": pick.choice(("DoNotSchedule", "ScheduleAnyway")),
            "labelSelector": self._selector(),
            "nodeAffinityPolicy": pick.choice(("Honor", "Ignore")),
            "nodeTaintsPolicy": pick.choice(("Honor", "Ignore")),
        }
        if made["whenUnsatisfiable"] == "DoNotSchedule" and pick.random() < 0.3:
            made["minDomains"] = pick.randint(1, 4)
        return made

    def _term(self) -> JSON:
        made: JSON = {"topologyKey": self.pick.choice(KEYS), "labelSelector": self._selector()}
        if self.pick.random() < 0.3:
            made["namespaces"] = ["two"]
        if self.pick.random() < 0.3:
            made["namespaceSelector"] = {"matchLabels": {"team": "red"}}
        return made

    def _affinity(self) -> JSON:
        made: JSON = {}
        if self.pick.random() < 0.5:
            made["requiredDuringSchedulingIgnoredDuringExecution"] = [
                self._term() for _ in range(self.pick.randint(1, 2))
            ]
        else:
            made["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.pick.randint(1, 9), "podAffinityTerm": self._term()}
            ]
        return made

    def _node_affinity(self) -> JSON:
        terms = [{"matchExpressions": [
            {"key": ZONE, "operator": "In", "values": [self.pick.choice("xyz")]}
        ]}]  # fmt: skip
        if self.pick.random() < 0.5:
            return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        return {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": self.pick.randint(1, 9), "preference": terms[0]}
        ]}  # fmt: skip

    # ------------------------------------------------------------ the comparison

    def schedule(self) -> None:
        """Both judge a new pod; it stays where the indexed one puts it."""
        pod = self.pod()
        wanted = self.world.scores(pod)
        made = info(pod)
        assert self.scheduler.scores(made) == wanted, pod
        for name, node in self.world.nodes.items():
            theirs = self.world.refusal(pod, node)
            ours = self.scheduler.refusal(made, self.cluster.nodes[name])
            assert (ours and (tuple(sorted(ours.reasons)), ours.final)) == theirs, (name, pod)
        decision = self.scheduler.decide(made)
        if wanted:
            best = max(wanted.values())
            assert wanted[decision.node] == best, (decision, wanted)
            self.world.pods[made.uid] = pod, decision.node
            self.cluster.set_pod(made, decision.node)
        else:
            reasons: list[tuple[str, int]] = []
            for node in self.world.nodes.values():
                refused = self.world.refusal(pod, node)
                assert refused is not None
                reasons += [(reason, 1) for reason in refused[0]]
            total = len(self.world.nodes)
            assert decision.message == unavailable(total, histogram(reasons))

    def step(self) -> None:
        """Something happens."""
        what: list[tuple[Any, int]] = [
            (self.schedule, 8), (self.remove_pod, 2), (self.relabel_pod, 1), (self.remove_node, 1),
            (lambda: self.set_node(f"n{self.pick.randint(0, 9)}"), 2),
            (lambda: self.set_namespace(self.pick.choice(("one", "two"))), 1),
        ]  # fmt: skip
        calls, weights = zip(*what, strict=True)
        self.pick.choices(calls, weights)[0]()


@given(st.integers(0, 1 << 32))
@settings(deadline=None)
def test_the_indexed_scheduler_agrees_with_an_exhaustive_one(seed: int) -> None:
    """Verdict and reasons of every node, all scores, the choice and the message."""
    twins = Twins(seed)
    for _ in range(STEPS):
        twins.step()
