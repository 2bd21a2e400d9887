"""What the published ConfigMap must hold (pure).

Source: kubernetes pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ConfigMap, Namespace
from podwire.client.effects import Create, Effect, Patch

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


def reconcile(namespace: Namespace | None, present: ConfigMap | None, root_ca: str) -> list[Effect]:
    """Create or restore the ConfigMap."""
    if namespace is None or namespace.metadata.deletion_timestamp:
        return []
    name = namespace.metadata.name
    data: JSON = {"ca.crt": root_ca}
    notes = {"kubernetes.io/description": DESCRIPTION}
    if present is None:
        meta = {"name": NAME, "namespace": name, "annotations": notes}
        return [Create(kinds.CONFIG_MAP, {"metadata": meta, "data": data}, name, exists_ok=True)]
    noted = present.metadata.annotations.items() >= notes.items()
    if present.data == data and noted:
        return []
    strangers = {key: None for key in present.data if key not in data}
    patch = {"metadata": {"annotations": notes}, "data": {**strangers, **data}}
    return [Patch(kinds.CONFIG_MAP, NAME, patch, name)]
