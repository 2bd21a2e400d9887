"""Cells of metrics.k8s.io, as kubernetes-sigs/metrics-server pkg/api prints them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podwire.api import quantity
from podwire.api.view import JSON


def pod_metrics(body: JSON, _now_ns: int) -> list[Any]:
    """Name, CPU and memory of all containers, window."""
    usages = [container["usage"] for container in body["containers"]]
    return [body["metadata"]["name"], *_totals(usages), body["window"]]


def node_metrics(body: JSON, _now_ns: int) -> list[Any]:
    """Name, CPU, memory, window."""
    return [body["metadata"]["name"], *_totals([body["usage"]]), body["window"]]


def _totals(usages: Sequence[JSON]) -> tuple[str, str]:
    cpu = sum(quantity.parse(usage["cpu"]).nano for usage in usages)
    memory = sum(quantity.parse(usage["memory"]).value for usage in usages)
    return f"{cpu}n" if cpu else "0", f"{memory // 1024}Ki"
