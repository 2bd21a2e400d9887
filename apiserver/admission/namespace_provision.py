"""NamespaceAutoProvision: a namespace that is missing is made for what is to be created in it.

Source: upstream plugin/pkg/admission/namespace/autoprovision.
"""

from __future__ import annotations

import msgspec

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review
from podwire.client.counters import Request, User

_OWN = User("system:apiserver", ("system:masters", "system:authenticated"))
_CREATED, _EXISTS = 201, 409
_JSON = {"accept": "application/json", "content-type": "application/json"}


async def admit(review: Review) -> None:
    """Make the namespace, as the API server itself. Raises ApiError Forbidden."""
    namespace = review.namespace
    if not namespace or review.kind is kinds.NAMESPACE or review.dry_run:
        return
    if review.server.caches.of(kinds.NAMESPACE).get("", namespace) is not None:
        return
    body = msgspec.json.encode({"metadata": {"name": namespace}})
    request = Request("POST", kinds.NAMESPACE.path(), (), _JSON, body, _OWN)
    answer = await review.server.handle(request)
    if answer.status not in {_CREATED, _EXISTS}:
        why = msgspec.json.decode(answer.body).get("message", "")
        raise calls.forbidden(review.kind, review.name, why)


PLUGIN = Plugin(
    "NamespaceAutoProvision", admit, operations=("CREATE",), subresources=None, on=False
)
