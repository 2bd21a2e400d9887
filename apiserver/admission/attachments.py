"""PodwireAttachments: who may not attach processes may not write the EndpointSlices that do.

Such a slice lets the cluster reach this machine's own ports, so rights on EndpointSlices are not
enough. podwire's own; upstream has no such plugin.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import authorizer, calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review
from podwire.apiserver.authorization.attributes import Attributes
from podwire.client.attached import ANNOTATION, PATH


def validate(review: Review) -> None:
    """See the module. Raises ApiError Forbidden."""
    annotations = review.obj["metadata"].get("annotations")
    if not annotations or ANNOTATION not in annotations:
        return
    asked = Attributes(review.user, "post", path=PATH)
    if not authorizer.authorize(review.server, asked)[0]:
        why = f'annotation {ANNOTATION}: user "{review.user.name}" cannot post path "{PATH}"'
        raise calls.forbidden(review.kind, review.name, why)


PLUGIN = Plugin("PodwireAttachments", validate=validate, kinds=(kinds.ENDPOINT_SLICE,))
