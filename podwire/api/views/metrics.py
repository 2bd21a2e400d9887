"""Views of PodMetrics and NodeMetrics (metrics.k8s.io)."""

from __future__ import annotations

from podwire.api.view import View
from podwire.api.views.meta import Object


class ContainerMetrics(View, frozen=True, kw_only=True):
    """podMetrics.containers[]."""

    name: str = ""
    usage: dict[str, str] = {}


class PodMetrics(Object, frozen=True, kw_only=True):
    """What the containers of a pod use."""

    timestamp: str = ""
    window: str = ""
    containers: list[ContainerMetrics] = []


class NodeMetrics(Object, frozen=True, kw_only=True):
    """What a node uses."""

    timestamp: str = ""
    window: str = ""
    usage: dict[str, str] = {}
