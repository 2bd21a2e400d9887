"""DefaultTolerationSeconds: pods leave a node that is not ready after five minutes.

Source: upstream plugin/pkg/admission/defaulttolerationseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.apiserver.admission.chain import Plugin, always
from podwire.apiserver.admission.review import Review

SECONDS = 300
"""--default-not-ready-toleration-seconds and its twin."""

_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def admit(review: Review) -> None:
    """Add the two tolerations unless the pod has its own."""
    spec = review.obj.setdefault("spec", {})
    tolerations = spec.get("tolerations") or []
    missing: Sequence[str] = _KEYS
    if tolerations:
        missing = [key for key in _KEYS if not any(_covers(t, key) for t in tolerations)]
    if missing:
        spec["tolerations"] = tolerations + [
            {
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": SECONDS,
            }
            for key in missing
        ]


def _covers(toleration: JSON, key: str) -> bool:
    return (toleration.get("key") or key) == key and (
        toleration.get("effect") or "NoExecute"
    ) == "NoExecute"


PLUGIN = Plugin("DefaultTolerationSeconds", admit, kinds=(kinds.POD,), repeats=always)
