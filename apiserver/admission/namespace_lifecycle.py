"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away.

Source: apiserver pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.status import Cause
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin, always
from podwire.apiserver.admission.review import Review

IMMORTAL = ("default", "kube-system", "kube-public")
"""Namespaces that cannot be deleted."""


def admit(review: Review) -> None:
    """See the module. Raises ApiError NotFound, Forbidden."""
    if review.kind is kinds.NAMESPACE:
        if review.operation == "DELETE" and review.name in IMMORTAL:
            why = "this namespace may not be deleted"
            raise calls.forbidden(kinds.NAMESPACE, review.name, why)
        return
    if not review.namespace or review.operation == "DELETE":
        return
    entry = review.server.caches.of(kinds.NAMESPACE).get("", review.namespace)
    if entry is None:
        raise calls.not_found(kinds.NAMESPACE, review.namespace)
    if review.operation == "CREATE" and entry.view.status.phase == "Terminating":
        namespace = review.namespace
        error = calls.forbidden(
            review.kind,
            review.name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
        )
        message = f"namespace {namespace} is being terminated"
        error.causes = (Cause("NamespaceTerminating", message, "metadata.namespace"),)
        raise error


PLUGIN = Plugin(
    "NamespaceLifecycle",
    admit,
    operations=("CREATE", "UPDATE", "DELETE"),
    subresources=None,
    repeats=always,
)
