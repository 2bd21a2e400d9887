"""Writers and watchers over one API, recording a history. Any binding of counter 1 will do.

Rounds keep memory bounded: after each one everybody is at rest, the history is judged, and the
next begins from the state that was found.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire.client.counters import Api, Request
from podwire.runtime.tasks import Nursery
from tests.histories.checker import (
    OK,
    REFUSED,
    UNKNOWN,
    History,
    Listing,
    Seen,
    Watched,
    Write,
    check,
)

PATH = "/api/v1/namespaces/{}/configmaps"
GROUPS = ("red", "blue")
_JSON = {"accept": "application/json", "content-type": "application/json"}
_MERGE = {**_JSON, "content-type": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what."""

    writers: int = 10
    watchers: int = 10
    operations: int = 300
    """Of all writers together, per round."""
    names: int = 8
    namespace: str = "default"
    page: int = 3
    cut_every: int = 25
    """A watcher leaves its connection after about so many events and resumes; 0 never."""
    lists_every: int = 12
    """A writer lists after about so many writes."""


class Workload:
    """Runs rounds; ``failures`` collects what the checker says."""

    def __init__(self, api: Api, plan: Plan, chance: random.Random) -> None:
        self.api = api
        self.plan = plan
        self.chance = chance
        self.history = History()
        self.path = PATH.format(plan.namespace)
        self._tokens = 0
        self.refused: dict[str, int] = {}
        self.relisted = 0

    async def round(self) -> list[str]:
        """One round from rest to rest; what is wrong with it."""
        self.history = History()
        begin = await self._list("", page=0)
        self.history.start, self.history.before = begin.revision, begin.state
        done = [False]
        async with Nursery() as watching:
            for i in range(self.plan.watchers):
                group = ("", *GROUPS)[i % 3]
                name = f"watcher {i}"
                watching.start(self._watch(name, group, begin.revision, done), name=name)
            async with Nursery() as writing:
                for i in range(self.plan.writers):
                    share = self.plan.operations // self.plan.writers
                    writing.start(self._write(share), name=f"writer {i}")
            done[0] = True
            # The last write wakes every watcher: each selection sees one more object.
            for group in GROUPS:
                await self._create(f"end-{group}", group)
        await self._list("", page=0)
        wrong = check(self.history)
        for group in GROUPS:
            await self._send("DELETE", f"{self.path}/end-{group}")
        return wrong

    # ------------------------------------------------------------ writers

    async def _write(self, operations: int) -> None:
        for _ in range(operations):
            name = f"object-{self.chance.randrange(self.plan.names)}"
            verb = self.chance.choices(
                (self._create, self._update, self._patch, self._delete), (30, 30, 20, 20)
            )[0]
            await verb(name, self.chance.choice(GROUPS))
            if self.plan.lists_every and not self.chance.randrange(self.plan.lists_every):
                await self._list(self.chance.choice(("", *GROUPS)), page=self.plan.page)

    def _begin(self, verb: str, name: str, group: str, base: int = 0) -> Write:
        self._tokens += 1
        value = ("", "") if verb == "delete" else (str(self._tokens), group)
        write = Write(verb, name, value, self.history.tick(), base)
        self.history.writes.append(write)
        return write

    def _body(self, write: Write, revision: str = "") -> bytes:
        meta: dict[str, Any] = {"name": write.key, "labels": {"group": write.value[1]}}
        if revision:
            meta["resourceVersion"] = revision
        return msgspec.json.encode({"metadata": meta, "data": {"token": write.value[0]}})

    async def _create(self, name: str, group: str) -> None:
        write = self._begin("create", name, group)
        await self._perform(write, "POST", self.path, self._body(write))

    async def _update(self, name: str, group: str) -> None:
        """Read, change, write back: refused when somebody was faster."""
        status, current = await self._send("GET", f"{self.path}/{name}")
        if status != 200:
            return
        revision = current["metadata"]["resourceVersion"]
        write = self._begin("update", name, group, int(revision))
        await self._perform(write, "PUT", f"{self.path}/{name}", self._body(write, revision))

    async def _patch(self, name: str, group: str) -> None:
        write = self._begin("patch", name, group)
        body = self._body(write)
        await self._perform(write, "PATCH", f"{self.path}/{name}", body, _MERGE)

    async def _delete(self, name: str, _group: str) -> None:
        write = self._begin("delete", name, "")
        await self._perform(write, "DELETE", f"{self.path}/{name}")

    async def _perform(
        self, write: Write, method: str, path: str, body: bytes = b"", headers: Any = None
    ) -> None:
        try:
            status, answer = await self._send(method, path, body, headers)
        except ConnectionError:
            return
        write.returned = self.history.tick()
        if status >= 500:
            write.outcome = UNKNOWN
        elif status >= 400:
            write.outcome = REFUSED
            self.refused[answer["reason"]] = self.refused.get(answer["reason"], 0) + 1
        else:
            write.outcome = OK
            revision = answer.get("metadata", {}).get("resourceVersion")
            if revision and write.verb != "delete":
                write.revision = int(revision)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        pairs = tuple((query or {}).items())
        request = Request(method, path, pairs, headers or _JSON, body)
        response = await self.api.send(request)
        return response.status, msgspec.json.decode(response.body)

    # ------------------------------------------------------------ readers

    async def _list(self, group: str, page: int) -> Listing:
        """All pages of a list at one revision; begun anew when it expired meanwhile."""
        query = {"labelSelector": f"group={group}"} if group else {}
        if page:
            query["limit"] = str(page)
        listing = Listing(self.history.tick(), 0, group, {})
        while True:
            status, body = await self._send("GET", self.path, query=query)
            if status == 410:
                query.pop("continue", None)
                listing = Listing(self.history.tick(), 0, group, {})
                continue
            assert status == 200, body
            listing.revision = int(body["metadata"]["resourceVersion"])
            for item in body["items"]:
                listing.state[item["metadata"]["name"]] = _value(item)
            if not body["metadata"].get("continue"):
                break
            query["continue"] = body["metadata"]["continue"]
        self.history.listings.append(listing)
        return listing

    async def _watch(self, name: str, group: str, start: int, done: list[bool]) -> None:
        """Watch from the round's start, over many connections, until the object that ends the
        round came by; list again where the server forgot.
        """
        while True:
            watched = Watched(name, group, start, end=start)
            self.history.watched.append(watched)
            if await self._follow(watched):
                return
            self.relisted += 1
            listing = await self._list(group, page=0)
            start = listing.revision
            if done[0] and f"end-{group or GROUPS[-1]}" in listing.state:
                return

    async def _follow(self, watched: Watched) -> bool:
        """True at the end of the round, False when the server forgot the revision (410)."""
        query = {"watch": "true", "allowWatchBookmarks": "true"}
        if watched.group:
            query["labelSelector"] = f"group={watched.group}"
        last = f"end-{watched.group or GROUPS[-1]}"
        while True:
            query["resourceVersion"] = str(watched.end)
            cut = self.plan.cut_every
            left = self.chance.randrange(1, 2 * cut) if cut else 0
            response = await self.api.send(Request("GET", self.path, tuple(query.items()), _JSON))
            if response.status == 410 or response.stream is None:
                assert response.status == 410, response.body
                return False
            try:
                async for frame in response.stream:
                    event = msgspec.json.decode(frame.data)
                    if event["type"] == "ERROR":
                        assert event["object"]["code"] == 410, event
                        return False
                    _record(watched, event)
                    if event["type"] == "ADDED" and event["object"]["metadata"]["name"] == last:
                        return True
                    left -= 1
                    if left == 0:
                        break
            except ConnectionError:
                continue
            finally:
                close = getattr(response.stream, "aclose", None)
                if close is not None:
                    await close()


def _value(item: Any) -> tuple[int, tuple[str, str]]:
    meta = item["metadata"]
    return int(meta["resourceVersion"]), (item["data"]["token"], meta["labels"]["group"])


def _record(watched: Watched, event: Any) -> None:
    revision = int(event["object"]["metadata"]["resourceVersion"])
    watched.end = max(watched.end, revision)
    if event["type"] != "BOOKMARK":
        _, value = _value(event["object"])
        key = event["object"]["metadata"]["name"]
        watched.events.append(Seen(event["type"], key, value, revision))
