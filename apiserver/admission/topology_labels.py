"""PodTopologyLabels: a pod has the zone and the region of its node as labels.

Source: upstream plugin/pkg/admission/podtopologylabels.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_COPIED = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")


def admit(review: Review) -> None:
    """Add them to a Binding, whose labels the pod gets, or to a pod that is made on a node."""
    if review.subresource:
        target = review.obj.get("target") or {}
        node = target.get("name") if target.get("kind") == "Node" else None
    else:
        node = (review.obj.get("spec") or {}).get("nodeName")
    entry = review.server.caches.of(kinds.NODE).get("", node) if node else None
    labels = entry.view.metadata.labels if entry is not None else {}
    copied = {key: labels[key] for key in _COPIED if key in labels}
    if copied:
        metadata = review.obj.setdefault("metadata", {})
        metadata["labels"] = {**copied, **(metadata.get("labels") or {})}


PLUGIN = Plugin(
    "PodTopologyLabels",
    admit,
    kinds=(kinds.POD,),
    operations=("CREATE",),
    subresources=("", "binding"),
    repeats=lambda review: not review.obj["spec"].get("nodeName"),
)
