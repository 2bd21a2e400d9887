"""LimitPodHardAntiAffinityTopology: no pod keeps others away from more than its own node.

Source: upstream plugin/pkg/admission/antiaffinity.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_HOSTNAME = "kubernetes.io/hostname"


def validate(review: Review) -> None:
    """Look at required anti-affinity. Raises ApiError Forbidden."""
    affinity = (review.obj["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        key = term.get("topologyKey", "")
        if key != _HOSTNAME:
            why = (
                f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} "
                f"but only key {_HOSTNAME} is allowed"
            )
            raise calls.forbidden(kinds.POD, review.name, why)


PLUGIN = Plugin("LimitPodHardAntiAffinityTopology", validate=validate, kinds=(kinds.POD,), on=False)
