"""APIServices as objects: what they say at birth. Those with a Service are ``aggregation``'s.

Source: kube-aggregator pkg/registry/apiservice (strategy.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.apiserver.aggregation import core

if TYPE_CHECKING:
    from podwire.api.view import JSON
    from podwire.apiserver.calls import Call


KIND = kinds.API_SERVICE


def on_create(_call: Call, obj: JSON) -> None:
    """A local one is available from birth; of any other nobody knows."""
    obj["status"] = {}
    if core.remote_of(obj) is None:
        since = obj["metadata"]["creationTimestamp"]
        obj["status"]["conditions"] = core.patched(obj, core.LOCAL, since)


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
