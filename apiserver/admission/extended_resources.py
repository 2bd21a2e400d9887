"""ExtendedResourceToleration: who asks for a device tolerates the taint of nodes that have it.

Source: upstream plugin/pkg/admission/extendedresourcetoleration; of what is an extended resource:
pkg/apis/core/helper.
"""

from __future__ import annotations

from podwire.api import kinds, names
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review


def admit(review: Review) -> None:
    """Add a toleration of NoSchedule for each extended resource that containers request."""
    spec = review.obj["spec"]
    asked = {
        name
        for group in ("containers", "initContainers")
        for container in spec.get(group) or ()
        for name in (container.get("resources") or {}).get("requests") or {}
        if _extended(name)
    }
    for name in sorted(asked):
        wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
        kept = [
            t
            for t in spec.get("tolerations") or ()
            if (t.get("key"), t.get("operator"), t.get("effect"), t.get("value") or "")
            != (name, "Exists", "NoSchedule", "")
        ]
        spec["tolerations"] = [*kept, wanted]


def _extended(name: str) -> bool:
    native = "/" not in name or "kubernetes.io/" in name
    if native or name.startswith("requests."):
        return False
    return not names.label_key(f"requests.{name}")


PLUGIN = Plugin("ExtendedResourceToleration", admit, kinds=(kinds.POD,), on=False)
