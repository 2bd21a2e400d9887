"""Views of Node."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.view import View
from podwire.api.views.meta import Condition, Object


class Taint(View, frozen=True, kw_only=True):
    """node.spec.taints[]."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str = ""


class NodeSpec(View, frozen=True, kw_only=True):
    """node spec."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: list[str] = msgspec.field(default_factory=list, name="podCIDRs")
    provider_id: str = ""
    taints: list[Taint] = []
    unschedulable: bool = False


class NodeAddress(View, frozen=True, kw_only=True):
    """node.status.addresses[]."""

    type: str = ""
    address: str = ""


class ContainerImage(View, frozen=True, kw_only=True):
    """node.status.images[]."""

    names: list[str] = []
    size_bytes: int = 0


class NodeStatus(View, frozen=True, kw_only=True):
    """node status."""

    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[Condition] = []
    addresses: list[NodeAddress] = []
    node_info: dict[str, Any] = {}
    images: list[ContainerImage] = []


class Node(Object, frozen=True, kw_only=True):
    """v1 Node."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ip(self) -> str:
        """The first InternalIP, or ''."""
        return next((a.address for a in self.status.addresses if a.type == "InternalIP"), "")

    @property
    def ready(self) -> bool:
        """Whether condition Ready is True."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)
