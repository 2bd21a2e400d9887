"""POST namespaces/NS/bindings: the old path of pods/NAME/binding.

Source: upstream pkg/registry/core/pod/storage (LegacyBindingREST).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import objects
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import binding
from podwire.client.counters import Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


async def handle(server: Apiserver, call: Call) -> Response:
    """Assign the pod that the Binding is named after: 201 with a Status."""
    name = objects.decode(call, call.kind)["metadata"].get("name") or ""
    if not name:
        raise ApiError("BadRequest", "name must be provided")
    meant = replace(call, kind=kinds.POD, name=name, subresource="binding")
    answer = await binding.handle(server, meant)
    call.warnings[:] = meant.warnings
    return answer
