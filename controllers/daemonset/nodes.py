"""Which nodes a DaemonSet wants a pod on, and the pod it wants there (pure).

Source: kubernetes pkg/controller/daemon (NodeShouldRunDaemonPod) and daemon/util.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.defaults.workloads import TEMPLATE_GENERATION
from podwire.api.view import JSON
from podwire.api.views import DaemonSet, Node, PodSpec, Toleration
from podwire.client.placement import HARD, NO_EXECUTE, NO_SCHEDULE, affinity_matches, untolerated
from podwire.controllers.common import pod_from_template, template_json
from podwire.controllers.history import HASH

_TOLERATED = (
    ("node.kubernetes.io/not-ready", NO_EXECUTE),
    ("node.kubernetes.io/unreachable", NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
)
TEMPLATE_GENERATION_LABEL = "pod-template-generation"
_HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE)


def daemon_tolerations(spec: JSON) -> list[JSON]:
    """Its own tolerations and those that every daemon pod gets.

    One of its own that differs in tolerationSeconds alone gives way, where it stands: daemon pods
    stay on lost nodes (AddOrUpdateDaemonPodTolerations).
    """
    wanted = [*_TOLERATED, *([_HOST_NETWORK_TOLERATED] if spec.get("hostNetwork") else [])]
    found: list[JSON] = list(spec.get("tolerations") or [])
    for key, effect in wanted:
        added = {"key": key, "operator": "Exists", "effect": effect}
        same = [
            t for t in found if {k: v for k, v in t.items() if k != "tolerationSeconds"} == added
        ]
        found = [added if t in same else t for t in found] if same else [*found, added]
    return found


def daemon_spec(ds: DaemonSet) -> PodSpec:
    """The template's pod spec with the daemon tolerations, as a view."""
    return _view(msgspec.json.encode(ds.spec.template.spec))


@lru_cache(maxsize=64)  # each of a DaemonSet's pods and nodes makes a pass over one template
def _view(template: bytes) -> PodSpec:
    spec = msgspec.json.decode(template)
    return msgspec.convert({**spec, "tolerations": daemon_tolerations(spec)}, PodSpec)


def should_run(spec: PodSpec, node: Node) -> tuple[bool, bool]:
    """Whether the node should have a pod, and whether one that runs there may stay."""
    if spec.node_name and spec.node_name != node.metadata.name:
        return False, False
    if not affinity_matches(spec, node):
        return False, False
    tolerations: list[Toleration] = spec.tolerations
    if untolerated(node.spec.taints, tolerations, HARD) is not None:
        return False, untolerated(node.spec.taints, tolerations, (NO_EXECUTE,)) is None
    return True, True


def pod_body(ds: DaemonSet, node: str, digest: str) -> JSON:
    """The pod for one node: pinned by matchFields, so that the scheduler binds it there."""
    body = pod_from_template(template_json(ds.spec.template), ds, kinds.DAEMON_SET)
    spec: JSON = dict(body["spec"])
    spec["tolerations"] = daemon_tolerations(spec)
    spec["affinity"] = _pinned(spec.get("affinity") or {}, node)
    meta = body["metadata"]
    meta["labels"] = {**meta.get("labels", {}), HASH: digest}
    count = ds.metadata.annotations.get(TEMPLATE_GENERATION, "")
    if count.isdigit():
        meta["labels"][TEMPLATE_GENERATION_LABEL] = count
    return {"metadata": meta, "spec": spec}


def _pinned(affinity: JSON, node: str) -> JSON:
    """The affinity with every required term replaced by, or none narrowed to, the node's name."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    node_affinity: dict[str, Any] = dict(affinity.get("nodeAffinity") or {})
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    return {**affinity, "nodeAffinity": node_affinity}
