"""SelfSubjectReview: who the server takes the caller for (``kubectl auth whoami``).

Source: upstream pkg/registry/authentication/selfsubjectreview.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.apiserver import answers, objects
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import meta
from podwire.apiserver.userinfo import user_info
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """201 with the caller's user info; a dry run answers the same."""
    _ = call.dry_run
    body = objects.decode(call, call.kind)
    body["metadata"] = {"creationTimestamp": meta.now(server)}
    body["status"] = {"userInfo": user_info(call.user)}
    return answers.review(body)
