"""Asks extension API servers whether they are there, and what they serve.

Whenever an APIService, its Service or its endpoints change, and every 30 s while there is one, as
upstream's informers resync. What fails is asked again with upstream's backoff. Nothing runs
without an APIService that has a Service. Source: kube-aggregator pkg/controllers/status/remote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver import backends, loopback
from podwire.apiserver.aggregation import core, merging, passing_on, swagger
from podwire.apiserver.aggregation.core import Remote, Verdict
from podwire.apiserver.aggregation.merging import Served
from podwire.apiserver.cache.entry import Entry
from podwire.apiserver.registry import apiservices, meta
from podwire.client import http1
from podwire.client.attached import STANDS_IN
from podwire.client.counters import Request, User
from podwire.runtime.ports import Timer
from podwire.runtime.tasks import Nursery
from podwire.store import StoreError

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

RESYNC_S = 30.0
_CHECK_S = 5.0
_ATTEMPTS = 5
_FIRST_RETRY_S, _LAST_RETRY_S = 0.005, 30.0
AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
"""With the masters' group, so that every extension server lets it in."""
_SERVICE_NAME = "kubernetes.io/service-name"

Heard = Callable[[Remote, Served], None]


class _Watched:
    """An APIService that is looked after."""

    __slots__ = ("dirty", "etag", "failures", "remote", "swagger", "task", "timer")

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.failures = 0
        self.dirty = False
        self.etag, self.swagger = "", b""
        self.task: asyncio.Task[None] | None = None
        self.timer: Timer | None = None

    def end(self) -> None:
        """Leave it alone."""
        if self.task is not None:
            self.task.cancel()
        if self.timer is not None:
            self.timer.cancel()


class Checks:
    """Looks after the remote APIServices of one server; ``heard`` learns what they serve."""

    def __init__(self, server: Apiserver, heard: Heard) -> None:
        self._server = server
        self._heard = heard
        self._watched: dict[str, _Watched] = {}
        self._local: dict[str, asyncio.Task[bool]] = {}
        self._stopped = False
        self.unavailable: dict[tuple[str, str], int] = {}
        """How often an APIService was found unavailable, by name and reason."""
        server.caches.of(kinds.SERVICE).listeners.append(self._service_changed)
        server.caches.of(kinds.ENDPOINT_SLICE).listeners.append(self._slice_changed)

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped = True
        for watched in self._watched.values():
            watched.end()
        for task in self._local.values():
            task.cancel()

    def follow(self, remotes: Mapping[str, Remote]) -> None:
        """Look after these, by name, and no others."""
        for name in [name for name in self._watched if name not in remotes]:
            self._watched.pop(name).end()
        for name, remote in remotes.items():
            watched = self._watched.get(name)
            if watched is None:
                watched = self._watched[name] = _Watched(remote)
                self._soon(watched)
            elif replace(watched.remote, available=remote.available) != remote:
                watched.remote = remote
                self._soon(watched)
            else:
                watched.remote = remote

    def local(self, name: str) -> None:
        """An APIService has no Service any more: it is available."""
        if self._stopped or name in self._local:
            return
        task = asyncio.get_running_loop().create_task(self._tell(name, core.LOCAL), name=name)
        self._local[name] = task
        task.add_done_callback(lambda _: self._local.pop(name))

    def _service_changed(self, old: Entry | None, new: Entry | None) -> None:
        if self._watched:
            about = new or old
            assert about is not None, "a change has a before or an after"
            self._concerns(about.namespace, about.name)

    def _slice_changed(self, old: Entry | None, new: Entry | None) -> None:
        if self._watched:
            about = new or old
            assert about is not None, "a change has a before or an after"
            self._concerns(about.namespace, about.view.metadata.labels.get(_SERVICE_NAME, ""))

    def _concerns(self, namespace: str, service: str) -> None:
        for watched in self._watched.values():
            remote = watched.remote
            if (remote.namespace, remote.service) == (namespace, service):
                self._soon(watched)

    # ------------------------------------------------------------ when

    def _soon(self, watched: _Watched) -> None:
        if self._stopped:
            return
        watched.dirty = True
        if watched.task is None:
            name = f"availability of {watched.remote.name}"
            watched.task = asyncio.get_running_loop().create_task(self._work(watched), name=name)

    def _again(self, watched: _Watched) -> None:
        watched.timer = None
        self._soon(watched)

    async def _work(self, watched: _Watched) -> None:
        clock = self._server.world.clock
        try:
            while watched.dirty:
                watched.dirty = False
                if watched.timer is not None:
                    watched.timer.cancel()
                failed = await self._settle(watched)
                watched.failures = watched.failures + 1 if failed else 0
                delay_s = RESYNC_S
                if failed:
                    doubled = _FIRST_RETRY_S * 2.0 ** min(watched.failures - 1, 20)
                    delay_s = min(doubled, _LAST_RETRY_S)
                watched.timer = clock.call_later(delay_s, self._again, watched)
        finally:
            watched.task = None

    # ------------------------------------------------------------ what

    async def _settle(self, watched: _Watched) -> bool:
        """Write the condition that an APIService should have; whether its server failed."""
        server, remote = self._server, watched.remote
        service = server.caches.of(kinds.SERVICE).get(remote.namespace, remote.service)
        slices = [
            entry.view
            for entry in server.caches.of(kinds.ENDPOINT_SLICE).entries(remote.namespace)
            if entry.view.service_name == remote.service
        ]
        verdict = core.reachable(remote, service.view if service else None, slices)
        failed = False
        if verdict is None:
            try:
                await self._any_answer(remote)
                verdict = core.PASSED
            except ConnectionError as error:
                verdict, failed = core.failed_discovery(str(error)), True
        self._heard(remote, await self._served(watched) if verdict is core.PASSED else Served())
        return not await self._tell(remote.name, verdict) or failed

    async def _tell(self, name: str, verdict: Verdict) -> bool:
        """Write a condition; False when the store would not have it now."""
        if verdict.status != "True":
            key = (name, verdict.reason)
            self.unavailable[key] = self.unavailable.get(key, 0) + 1
        entry = self._server.caches.of(apiservices.KIND).get("", name)
        if entry is None:
            return True
        conditions = core.patched(entry.json(), verdict, meta.now(self._server))
        if conditions is None:
            return True
        body = {
            "metadata": {"resourceVersion": str(entry.revision)},
            "status": {"conditions": conditions},
        }
        path = apiservices.KIND.path("", name, "status")
        try:
            answer = await loopback.send(self._server, "PATCH", path, body)
        except (ApiError, StoreError) as error:
            self._server.world.log.info("APIService waits", name=name, error=str(error))
            return False
        return answer.status != 409

    async def _any_answer(self, remote: Remote) -> None:
        """One of several attempts, made at once, must succeed; who has one endpoint is asked once.

        Raises ConnectionError with what the last one said.
        """
        found = backends.ready(self._server, remote.namespace, remote.service, remote.port)
        attempts = _ATTEMPTS if len(found) > 1 else 1
        failures: list[ConnectionError] = []

        async def attempt() -> None:
            try:
                await self._answers(remote)
            except ConnectionError as error:
                failures.append(error)

        async with Nursery() as nursery:
            for number in range(attempts):
                nursery.start(attempt(), name=f"discovery check {number}")
        if len(failures) == attempts:
            raise failures[-1]

    async def _answers(self, remote: Remote) -> None:
        """Raises ConnectionError when the extension server does not answer as it must. Who it is
        does not matter here, as upstream has it.
        """
        at = backends.shown(self._server, remote.namespace, remote.service, remote.port)
        url = f"https://{at}{remote.path}"
        try:
            answer = await self._get(replace(remote, ca=None), remote.path)
        except ConnectionError as error:
            why = f'failing or missing response from {url}: Get "{url}": {error}'
            raise ConnectionError(why) from None
        if not 200 <= answer.status < 300:
            why = f"failing or missing response from {url}: bad status from {url}: {answer.status}"
            raise ConnectionError(why)

    async def _get(self, remote: Remote, path: str, etag: str = "") -> http1.Response:
        headers = {"accept": "application/json", "user-agent": "kube-aggregator"}
        if etag:
            headers["if-none-match"] = etag
        request = Request("GET", path, (), headers, b"", AGGREGATOR)
        return await passing_on.fetch(self._server, remote, request, _CHECK_S)

    async def _served(self, watched: _Watched) -> Served:
        """What it tells of itself, this time to us alone: its certificate is verified."""
        remote = watched.remote
        try:
            answer = await self._get(remote, remote.path)
            resources = merging.resources_of(answer.body, remote.group, remote.version)
        except (ConnectionError, ValueError) as error:
            self._server.world.log.info("no discovery", name=remote.name, error=str(error))
            return Served()
        if answer.header(STANDS_IN):
            return Served(resources, fresh=True, ours=True)
        await self._learn_swagger(watched)
        return Served(resources, await self._openapi(remote), watched.swagger, fresh=True)

    async def _openapi(self, remote: Remote) -> str:
        try:
            answer = await self._get(remote, "/openapi/v3")
            return merging.document_of(answer.body, remote.path[1:]) if answer.status == 200 else ""
        except (ConnectionError, ValueError):
            return ""  # it has none, and says so by any other answer

    async def _learn_swagger(self, watched: _Watched) -> None:
        """Its part of OpenAPI v2; what it said before stays while it says nothing (useful)."""
        try:
            answer = await self._get(watched.remote, "/openapi/v2", watched.etag)
            if answer.status == 200:
                watched.swagger = swagger.part_of(answer.body, watched.remote.path)
                watched.etag = answer.header("etag")
        except (ConnectionError, ValueError) as error:
            name = watched.remote.name
            self._server.world.log.info("no OpenAPI v2", name=name, error=str(error))
