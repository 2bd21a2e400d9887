"""APIServices: those without a Service are this server's own. No other server is asked (aggregation
is not modelled).

Source: kube-aggregator pkg/registry/apiservice (strategy.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds
from podwire.api.kinds import Kind

if TYPE_CHECKING:
    from podwire.api.view import JSON
    from podwire.apiserver.calls import Call


def _kind() -> Kind[Any]:
    found = kinds.by_gvk("apiregistration.k8s.io/v1", "APIService")
    assert found is not None, "APIService is served"
    return found


KIND = _kind()


def on_create(_call: Call, obj: JSON) -> None:
    """A local one is available from birth."""
    if (obj.get("spec") or {}).get("service") is not None:
        return
    local = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": obj["metadata"]["creationTimestamp"],
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    obj["status"] = {"conditions": [local]}
