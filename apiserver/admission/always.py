"""AlwaysAdmit and AlwaysDeny: deprecated, since they mean nothing; upstream has them still.

Source: upstream plugin/pkg/admission/admit, deny.
"""

from __future__ import annotations

from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_EVERYTHING = ("CREATE", "UPDATE", "DELETE", "CONNECT")


def deny(review: Review) -> None:
    """Refuse. Raises ApiError Forbidden."""
    why = "admission control is denying all modifications"
    raise calls.forbidden(review.kind, review.name, why)


ADMIT = Plugin("AlwaysAdmit", on=False)
DENY = Plugin("AlwaysDeny", deny, deny, operations=_EVERYTHING, subresources=None, on=False)
