"""TaintNodesByCondition: a new node takes no pods before it is known to be ready.

The node lifecycle controller takes the taint away. Source: upstream plugin/pkg/admission/nodetaint.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_NOT_READY = "node.kubernetes.io/not-ready"


def admit(review: Review) -> None:
    """Add the taint unless the node brings it."""
    spec = review.obj.setdefault("spec", {})
    taints = spec.get("taints") or []
    if any((t.get("key"), t.get("effect")) == (_NOT_READY, "NoSchedule") for t in taints):
        return
    spec["taints"] = [*taints, {"key": _NOT_READY, "effect": "NoSchedule"}]


PLUGIN = Plugin("TaintNodesByCondition", admit, kinds=(kinds.NODE,), operations=("CREATE",))
