"""Upstream's tables, and the clusters that their cases describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from podwire.api.view import JSON
from podwire.api.views import Node, Pod
from podwire.scheduler.cluster import Cluster
from podwire.scheduler.terms import PodInfo, info

DATA = Path(__file__).parents[2] / "data" / "scheduler"
ROOM = {"cpu": "1k", "memory": "1Ei", "pods": "1k"}


def cases(name: str) -> list[JSON]:
    """The cases of a table; their source stands in the file."""
    found: list[JSON] = json.loads((DATA / f"{name}.json").read_text())["cases"]
    return found


def label(case: JSON) -> str:
    """What a case is called in a report."""
    return f"{case['plugin']}: {case['name']}"


def clean(value: Any) -> Any:
    """Without what Go prints for nothing, as the API server would have stored it."""
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def pod_of(body: JSON, uid: str) -> Pod:
    """A pod of a case; upstream's often have neither name nor uid."""
    body = clean(body)
    given = body.get("metadata", {})
    meta = {"name": uid, **given, "uid": given.get("uid") or uid}
    return msgspec.convert({**body, "metadata": meta}, Pod)


def node_of(body: JSON) -> Node:
    """A node of a case, with room where the case says nothing of it."""
    body = clean(body)
    status = body.get("status", {})
    allocatable = status.get("allocatable") or ROOM
    return msgspec.convert({**body, "status": {**status, "allocatable": allocatable}}, Node)


def cluster_of(case: JSON) -> tuple[Cluster, PodInfo]:
    """The cluster and the pod of a case."""
    cluster = Cluster()
    for name, labels in case.get("namespaces", {}).items():
        cluster.set_namespace(name, labels)
    nodes = [node_of(node) for node in [*case["nodes"], *case.get("others", [])]]
    for node in nodes:
        cluster.set_node(node)
    for number, body in enumerate(case["pods"]):
        placed = pod_of(body, f"placed-{number}")
        cluster.set_pod(placed, placed.spec.node_name or nodes[0].metadata.name)
    cluster.settle()
    return cluster, info(pod_of(case["pod"], "incoming"))
