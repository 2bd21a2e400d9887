"""ComponentStatus: the old way to ask for the health of scheduler, controller manager and etcd.

Source: upstream pkg/registry/core/componentstatus. What upstream asks by HTTP is told here by the
rooms' Leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver import calls, components
from podwire.apiserver.cache.entry import Entry, Splice
from podwire.apiserver.calls import Call
from podwire.apiserver.components import Component, Renewals
from podwire.apiserver.registry import list as list_verb
from podwire.apiserver.storage import encode
from podwire.client.counters import Response
from podwire.client.leases import COMPONENT_NAMESPACE

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

WARNING = "v1 ComponentStatus is deprecated in v1.19+"
_ROOMS = {"controller-manager": "controllers", "scheduler": "scheduler"}
_ETCD = "etcd-0"


def _kind() -> Kind[Object]:
    found = kinds.by_gvk("v1", "ComponentStatus")
    assert found is not None, "v1 ComponentStatus is served"
    return found


KIND = _kind()
_SPLICE = Splice(KIND)


def install(server: Apiserver) -> None:
    """Enter the verbs into the server's table."""
    server.routes.add_verb("list", _list, kind=KIND)
    server.routes.add_verb("get", _get, kind=KIND)


async def _list(server: Apiserver, call: Call) -> Response:
    """All that are selected."""
    call.warnings.append(WARNING)
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    selection = list_verb.select(call)
    names = sorted((*_ROOMS, _ETCD))
    found = [_entry(name, await _healthy(server, name)) for name in names]
    return server.many(KIND, [entry for entry in found if selection.matches(entry)], {}, shape)


async def _get(server: Apiserver, call: Call) -> Response:
    """One by name."""
    call.warnings.append(WARNING)
    shape = server.shape(call.request.headers.get("accept", ""), call.query.get("includeObject"))
    if call.name not in _ROOMS and call.name != _ETCD:
        raise calls.not_found(KIND, call.name)
    return server.one(_entry(call.name, await _healthy(server, call.name)), shape)


async def _healthy(server: Apiserver, name: str) -> JSON:
    """The condition Healthy."""
    if name == _ETCD:
        wrong = await server.check_store()
        return _condition("" if wrong is None else wrong)
    room = _ROOMS[name]
    entries = server.caches.of(kinds.LEASE).entries(COMPONENT_NAMESPACE)
    renewals = Renewals(server.world.clock)
    found = components.of_leases([entry.view for entry in entries], renewals)
    component = found.get(room, Component(room, components.UNKNOWN, "it has not held a Lease yet"))
    if component.status == components.READY:
        return _condition("")
    return _condition(component.message or component.status)


def _condition(wrong: str) -> JSON:
    if not wrong:
        return {"type": "Healthy", "status": "True", "message": "ok"}
    return {"type": "Healthy", "status": "False", "message": wrong}


def _entry(name: str, condition: JSON) -> Entry:
    value = encode(KIND, {"metadata": {"name": name}, "conditions": [condition]})
    return Entry(KIND, _SPLICE, name, value, 0)
