"""One pass of a DaemonSet: what upstream's update_test.go expects, as a table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.times import NS, format_time
from podwire.api.view import JSON
from podwire.api.views import ControllerRevision, DaemonSet, Node, Pod
from podwire.client.effects import Create, Delete, Together
from podwire.controllers.daemonset import core

NOW = 1_767_300_000 * NS
LABELS = {"app": "agent"}
OWNER: JSON = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "ds"}


def surge(amount: int | str) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": amount, "maxUnavailable": 0}}


def down(amount: int | str) -> dict[str, Any]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": amount}}


def _pod(node: str, number: int, word: str) -> Pod:
    """``old+``: of the revision before, available; ``new-``: current, not Ready; ``~``: dying;
    ``!``: failed.
    """
    status = {"+": "True"}.get(word[3], "False")
    since = format_time(NOW - 60 * NS)
    meta: JSON = {
        "name": f"{node}-{word[:3]}{number}",
        "namespace": "default",
        "uid": f"{node}-{number}",
        "labels": {**LABELS, "controller-revision-hash": word[:3]},
        "ownerReferences": [{**OWNER, "controller": True}],
        "creationTimestamp": format_time(NOW - (90 - number) * NS),
        **({"deletionTimestamp": since} if word[3] == "~" else {}),
    }
    ready = {"type": "Ready", "status": status, "lastTransitionTime": since}
    phase = "Failed" if word[3] == "!" else "Running"
    body = {"spec": {"nodeName": node}, "status": {"phase": phase, "conditions": [ready]}}
    return msgspec.convert({"metadata": meta, **body}, Pod)


def _nodes(words: str) -> tuple[list[Node], list[Pod]]:
    """``old+ | old+ new- | # old+``: what each node has; ``#``: it fits the DaemonSet no more."""
    nodes: list[Node] = []
    pods: list[Pod] = []
    for number, told in enumerate(words.split("|"), 1):
        name, has = f"n{number}", told.split()
        labels = {"fits": "no" if "#" in has else "yes"}
        taints = [{"key": "gone", "effect": "NoSchedule"}] if "#" in has else []
        body = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}
        nodes.append(msgspec.convert(body, Node))
        pods += [_pod(name, at, word) for at, word in enumerate(w for w in has if w not in "#.")]
    return nodes, pods


def _pass(words: str, strategy: dict[str, Any], **spec: Any) -> tuple[list[str], list[str]]:
    """(nodes that get a pod, pods that are deleted)."""
    template = {"metadata": {"labels": LABELS}, "spec": {}}
    body = {
        "metadata": {"name": "agent", "namespace": "default", "uid": "ds"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template,
                 "updateStrategy": strategy, **spec},
    }  # fmt: skip
    revision = {
        "metadata": {"name": "agent-new", "namespace": "default",
                     "labels": {"controller-revision-hash": "new"},
                     "ownerReferences": [{**OWNER, "controller": True}]},
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": 2,
    }  # fmt: skip
    nodes, pods = _nodes(words)
    effects = core.reconcile(
        msgspec.convert(body, DaemonSet), pods, nodes,
        [msgspec.convert(revision, ControllerRevision)], NOW,
    )  # fmt: skip
    writes = [e for group in effects if isinstance(group, Together) for e in group.effects]
    created = [
        term["matchFields"][0]["values"][0]
        for write in writes
        if isinstance(write, Create)
        for term in write.body["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"]
    ]
    return created, [write.name for write in writes if isinstance(write, Delete)]


@pytest.mark.parametrize(
    ("words", "strategy", "created", "deleted"),
    [
        # without surge: maxUnavailable nodes at a time, and who is broken costs nothing
        ("old+ | old+ | old+", down(1), "", "n1-old0"),
        ("old+ | old+ | old+ | old+ | old+", down(2), "", "n1-old0 n2-old0"),
        ("old+ | old+ | old+ | old+", down("50%"), "", "n1-old0 n2-old0"),
        ("old+ | old+ | old-", down(1), "", "n3-old0"),
        ("old- | old- | old-", down(1), "", "n1-old0 n2-old0 n3-old0"),
        ("old+ | old- | old+", down(2), "", "n2-old0 n1-old0"),
        ("new- | old+ | old+", down(1), "", ""),
        ("new- | old+ | old+", down(2), "", "n2-old0"),
        ("old~ | old+ | old+", down(1), "", ""),
        (". | old+ | old+", down(1), "n1", ""),
        ("new+ | new+ | new+", down(1), "", ""),
        ("old+ old+ | old+", down(1), "", "n1-old1"),
        ("old! | old+", down(1), "", "n1-old0"),
        # with surge: a second pod first, on maxSurge nodes
        ("old+ | old+ | old+ | old+ | old+", surge(2), "n1 n2", ""),
        ("old+ new- | old+ new- | old+", surge(2), "", ""),
        ("old+ new- | old+ | old+", surge(2), "n2", ""),
        ("old+ new+ | old+ new+ | old+", surge(2), "", "n1-old0 n2-old0"),
        ("new+ | new+ | old+", surge(2), "n3", ""),
        ("old- | old- | old+", surge(1), "n1 n2 n3", ""),
        ("old- new- | old+", surge(1), "", "n1-old0"),
        ("old+ new- new- | old+", surge(1), "", "n1-new2"),
        ("new~ | old+", surge(1), "n1", ""),
        ("old+ | old+ | old+ | old+", surge("25%"), "n1", ""),
        # with surge, a node that fits no more serves until enough others do
        ("# old+ | new-", surge(1), "", ""),
        ("# old+ | new+", surge(1), "", "n1-old0"),
        ("# old- | new-", surge(1), "", "n1-old0"),
        # nobody but the user replaces
        ("old+ | old- | .", {"type": "OnDelete"}, "n3", ""),
    ],
)  # fmt: skip
def test_a_pass_replaces_what_the_strategy_allows(
    words: str, strategy: dict[str, Any], created: str, deleted: str
) -> None:
    """Who is created where, who is deleted."""
    assert _pass(words, strategy) == (created.split(), deleted.split())


def test_min_ready_seconds_keep_the_old_pod_beside_the_new_one():
    """Ready for 60 s is not enough for 90."""
    assert _pass("old+ new+", surge(1), minReadySeconds=90) == ([], [])
    assert _pass("old+ new+", surge(1), minReadySeconds=60) == ([], ["n1-old0"])
