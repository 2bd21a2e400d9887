"""The verbs: one file each, over the watch cache for reads and the store for writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.apiserver import componentstatus, metricsapi, podstreams, proxy, reviews
from podwire.apiserver.registry import (
    binding,
    bindings,
    create,
    delete,
    eviction,
    finalize,
    get,
    patch,
    scale,
    update,
    watch,
)
from podwire.apiserver.registry import list as list_verb
from podwire.apiserver.registry.parts import PARTS

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


def install(server: Apiserver) -> None:
    """Enter the verbs into the server's table."""
    add = server.routes.add_verb
    add("create", create.handle)
    add("get", get.handle)
    add("list", list_verb.handle)
    add("watch", watch.handle)
    add("update", update.handle)
    add("patch", patch.handle)
    add("delete", delete.handle)
    add("deletecollection", delete.handle_collection)
    add("get", get.handle, "status")
    add("update", update.handle, "status")
    add("patch", patch.handle, "status")
    add("get", scale.get, "scale")
    add("update", scale.put, "scale")
    add("patch", scale.patch, "scale")
    add("create", binding.handle, "binding")
    add("create", eviction.handle, "eviction")
    add("update", finalize.handle, "finalize")
    reviews.install(server)
    for _, subresource in PARTS:
        if subresource != "status":
            add("get", get.handle, subresource)
            add("update", update.handle, subresource)
            add("patch", patch.handle, subresource)
    componentstatus.install(server)
    metricsapi.install(server)
    add("create", bindings.handle, kind=kinds.by_gvk("v1", "Binding"))
    for verb, subresource, handler in (*podstreams.HANDLERS, *proxy.HANDLERS):
        add(verb, handler, subresource)
