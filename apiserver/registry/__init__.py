"""The verbs: one file each, over the watch cache for reads and the store for writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.apiserver.registry import create, delete, get, patch, update, watch
from podwire.apiserver.registry import list as list_verb

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
    for subresource in ("status",):
        add("get", get.handle, subresource)
        add("update", update.handle, subresource)
        add("patch", patch.handle, subresource)
