"""What depends on who writes, which admission is not told: granting, and what nodes write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.apiserver.admission import node_restriction
from podwire.apiserver.admission.node_restriction import Write
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import escalation

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def guard(server: Apiserver, call: Call, write: Write) -> None:
    """Whether the caller may make this write. Raises ApiError Forbidden, NotFound."""
    node_restriction.check(server, call.user, write)
    if write.operation != "DELETE":
        escalation.check(server, call, write.kind, write.obj, write.old)
