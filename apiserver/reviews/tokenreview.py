"""TokenReview: whose token it is.

Source: upstream pkg/registry/authentication/tokenreview.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import answers, objects
from podwire.apiserver.calls import Call
from podwire.apiserver.tokens import TokenError
from podwire.apiserver.userinfo import user_info
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """201 with the user of the token, or with what is wrong with it."""
    _ = call.dry_run  # nothing is stored either way
    body = objects.decode(call, call.kind)
    spec: JSON = body.setdefault("spec", {})
    if not spec.get("token"):
        raise ApiError("BadRequest", "token is required for TokenReview in authentication")
    asked = spec.get("audiences") or []
    try:
        found = server.authenticator.token(spec["token"], asked)
    except TokenError as error:
        body["status"] = {"user": {}, "error": str(error)}
        return answers.review(body)
    body["status"] = {"authenticated": True, "user": user_info(found.user)}
    issued = server.authenticator.accounts
    audiences = found.audiences
    if not audiences and not asked and issued is not None:
        audiences = issued.issuer.audiences
    if audiences:
        body["status"]["audiences"] = list(audiences)
    return answers.review(body)
