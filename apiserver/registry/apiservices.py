"""APIServices: those without a Service are this server's own. No other server is asked (aggregation
is not modelled), and their APIServices say so.

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
    """A local one is available from birth, any other is not."""
    local = (obj.get("spec") or {}).get("service") is None
    words = ("True", "Local", "Local APIServices are always available")
    if not local:
        words = ("False", "NotModelled", "podwire asks no other API server (aggregation)")
    condition = {
        "type": "Available",
        "status": words[0],
        "lastTransitionTime": obj["metadata"]["creationTimestamp"],
        "reason": words[1],
        "message": words[2],
    }
    obj["status"] = {"conditions": [condition]}


AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"


def for_group(group: str, version: str) -> JSON:
    """The APIService of a group version that CustomResourceDefinitions serve.

    Source: kube-apiserver pkg/controlplane/controller/crdregistration.
    """
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.kind,
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: "true"}},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 1000,
            "versionPriority": 100,
        },
    }
