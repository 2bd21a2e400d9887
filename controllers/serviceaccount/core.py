"""Which service account a namespace lacks (pure).

Source: kubernetes pkg/controller/serviceaccount.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.views import Namespace
from podwire.client.effects import Create, Effect

NAME = "default"


def reconcile(namespace: Namespace | None, *, present: bool) -> list[Effect]:
    """Create the account unless it is there or the namespace goes away."""
    if namespace is None or present or namespace.metadata.deletion_timestamp:
        return []
    name = namespace.metadata.name
    body = {"metadata": {"name": NAME, "namespace": name}}
    return [Create(kinds.SERVICE_ACCOUNT, body, name, exists_ok=True)]
