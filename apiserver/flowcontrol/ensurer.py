"""Keeps flow schemas and priority levels what they have to be.

The mandatory ones always, the suggested ones unless their annotation (or an edit of one that has
none) says that they are somebody's own; what earlier versions suggested goes. Upstream looks every
minute; here a minute passes after a change, and nothing runs without one. A FlowSchema's condition
Dangling follows at once. Source: kubernetes pkg/registry/flowcontrol/ensurer (strategy.go),
apiserver pkg/util/flowcontrol (apf_controller.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import loopback
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.flowcontrol import bootstrap
from podwire.apiserver.flowcontrol.bootstrap import AUTOUPDATE
from podwire.apiserver.flowcontrol.control import FLOW_SCHEMA, LEVEL
from podwire.apiserver.registry import meta
from podwire.runtime.ports import Timer
from podwire.store import StoreError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

PERIOD_S = 60.0
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
"""What Go's strconv.ParseBool reads."""


def _says(held: JSON) -> bool | None:
    """What the annotation says, None when that is nothing."""
    annotations = held["metadata"].get("annotations") or {}
    return _BOOLS.get(annotations.get(AUTOUPDATE, ""))


def mended(held: JSON, wanted: JSON, *, mandatory: bool) -> JSON | None:
    """``held`` with annotation and spec as they have to be, None when they are."""
    said = _says(held)
    automatic = mandatory or (held["metadata"].get("generation") == 1 if said is None else said)
    differs = automatic and held["spec"] != wanted["spec"]
    if said == automatic and not differs:
        return None
    metadata = held["metadata"]
    annotations = dict(metadata.get("annotations") or {})
    if said != automatic:
        annotations[AUTOUPDATE] = "true" if automatic else "false"
    spec = wanted["spec"] if differs else held["spec"]
    return {**held, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def unwanted(held: JSON, names: Mapping[str, JSON]) -> bool:
    """Whether an object was suggested once and is no more, and nobody made it his own."""
    return held["metadata"]["name"] not in names and _says(held) is True


class Ensurer:
    """Looks after the objects of one server, once it has begun."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        wanted = bootstrap.objects()
        self._wanted = {
            kind: {o["metadata"]["name"]: o for o in wanted if o["kind"] == kind.kind}
            for kind in (FLOW_SCHEMA, LEVEL)
        }
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._begun = self._changed = self._due = False
        for kind in (FLOW_SCHEMA, LEVEL):
            server.caches.of(kind).listeners.append(self._heard)

    async def begin(self) -> None:
        """Mend what is there, and go on doing so. Raises ApiError."""
        self._begun = True
        await self._ensure()
        await self.tell()

    def stop(self) -> None:
        """Write nothing any more."""
        self._begun = False
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _heard(self, _old: Entry | None, _new: Entry | None) -> None:
        if not self._begun:
            return
        self._changed = True
        if self._timer is None:
            self._timer = self._server.world.clock.call_later(PERIOD_S, self._tick)
        self._soon()

    def _tick(self) -> None:
        self._timer = None
        self._due = True
        self._soon()

    def _soon(self) -> None:
        if self._task is None and self._begun:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._work(), name="priority and fairness objects")

    async def _work(self) -> None:
        try:
            while self._changed or self._due:
                self._changed = False
                try:
                    if self._due:
                        self._due = False
                        await self._ensure()
                    await self.tell()
                except (ApiError, StoreError) as error:
                    self._server.world.log.info("flow schemas wait", error=str(error))
                    if self._timer is None:
                        clock = self._server.world.clock
                        self._timer = clock.call_later(PERIOD_S, self._tick)
        finally:
            self._task = None

    async def _ensure(self) -> None:
        server = self._server
        for kind, wanted in self._wanted.items():
            cache = server.caches.of(kind)
            for name, body in wanted.items():
                entry = cache.get("", name)
                if entry is None:
                    await loopback.send(server, "POST", kind.path(), body)
                    continue
                made = mended(entry.json(), body, mandatory=name in bootstrap.MANDATORY)
                if made is not None:
                    made["metadata"]["resourceVersion"] = str(entry.revision)
                    await loopback.send(server, "PUT", kind.path("", name), made)
            for entry in cache.entries():
                if unwanted(entry.json(), wanted):
                    await loopback.send(server, "DELETE", kind.path("", entry.name))

    async def tell(self) -> None:
        """Give each FlowSchema the condition that it should have."""
        server = self._server
        for entry in list(server.caches.of(FLOW_SCHEMA).entries()):
            obj = entry.json()
            level = (obj["spec"].get("priorityLevelConfiguration") or {}).get("name", "")
            exists = server.caches.of(LEVEL).get("", level) is not None
            told = bootstrap.dangling(level, exists)
            conditions = (obj.get("status") or {}).get("conditions") or []
            old: JSON = next((c for c in conditions if c.get("type") == told["type"]), {})
            if {k: v for k, v in old.items() if k != "lastTransitionTime"} == told:
                continue
            same = old.get("status") == told["status"]
            told["lastTransitionTime"] = old["lastTransitionTime"] if same else meta.now(server)
            others = [c for c in conditions if c is not old]
            body = {
                "metadata": {"resourceVersion": str(entry.revision)},
                "status": {"conditions": [*others, told]},
            }
            path = FLOW_SCHEMA.path("", entry.name, "status")
            await loopback.send(server, "PATCH", path, body)
