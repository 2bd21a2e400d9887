"""NamespaceExists: nothing is written in a namespace that is missing.

Source: upstream plugin/pkg/admission/namespace/exists.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review


def validate(review: Review) -> None:
    """See the module. Raises ApiError NotFound."""
    namespace = review.namespace
    if not namespace or review.kind is kinds.NAMESPACE:
        return
    if review.server.caches.of(kinds.NAMESPACE).get("", namespace) is None:
        raise calls.not_found(kinds.NAMESPACE, namespace)


PLUGIN = Plugin(
    "NamespaceExists",
    validate=validate,
    operations=("CREATE", "UPDATE", "DELETE"),
    subresources=None,
    on=False,
)
