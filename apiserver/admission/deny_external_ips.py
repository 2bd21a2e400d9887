"""DenyServiceExternalIPs: no Service takes addresses that it has not had before.

Source: upstream plugin/pkg/admission/network/denyserviceexternalips.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review


def validate(review: Review) -> None:
    """What is there may stay, or go. Raises ApiError Forbidden."""
    wanted = (review.obj.get("spec") or {}).get("externalIPs") or ()
    had = ((review.old or {}).get("spec") or {}).get("externalIPs") or ()
    if any(address not in had for address in wanted):
        why = "Use of external IPs is denied by admission control"
        raise calls.forbidden(kinds.SERVICE, review.name, why)


PLUGIN = Plugin("DenyServiceExternalIPs", validate=validate, kinds=(kinds.SERVICE,), on=False)
