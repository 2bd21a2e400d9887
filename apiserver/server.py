"""``Apiserver``: handle(request) -> response. The order of a request's stations is in ``handle``.

Source of the order: apiserver pkg/server/config.go (authentication is the binding's work).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.codec import MAX_BODY_BYTES, PROTOBUF_TYPE, TOO_LARGE
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.validation.warnings import deprecated
from podwire.api.view import JSON
from podwire.apiserver import (
    answers,
    authorizer,
    calls,
    health,
    impersonation,
    metrics,
    negotiation,
)
from podwire.apiserver.accounts import ServiceAccounts
from podwire.apiserver.admission import PLUGINS, Chain
from podwire.apiserver.admission.policies.definitions import AdmissionPolicies
from podwire.apiserver.admission.webhooks.dispatch import Webhooks
from podwire.apiserver.aggregation.aggregator import Aggregator
from podwire.apiserver.allocation.ranges import FOLDER, Ranges, ready_cidrs
from podwire.apiserver.cache.entry import Entry, Representation
from podwire.apiserver.cache.hub import Caches
from podwire.apiserver.calls import Call
from podwire.apiserver.config import Config
from podwire.apiserver.encodings import Protobuf, ProtobufMetadata, rewritten
from podwire.apiserver.extensions.definitions import Definitions
from podwire.apiserver.flowcontrol import dumps
from podwire.apiserver.flowcontrol.control import FlowControl, Refused
from podwire.apiserver.flowcontrol.ensurer import Ensurer
from podwire.apiserver.http.authn import Authenticator
from podwire.apiserver.moulds import Moulds
from podwire.apiserver.negotiation import Accepted
from podwire.apiserver.reads import Reads
from podwire.apiserver.registry import install, meta
from podwire.apiserver.routes import ResourceHandler, Routes
from podwire.apiserver.tokens import Issuer
from podwire.apiserver.trust import Trust
from podwire.apiserver.world import World
from podwire.client.counters import ANONYMOUS, KubeletStreams, Request, Response, User
from podwire.store import OutcomeUnknownError, Store, UnavailableError
from podwire.store.encrypted import EncryptedStore

if TYPE_CHECKING:
    from podwire.apiserver.audit.auditor import Auditor

Check = Callable[[str], Awaitable[str | None] | str | None]
"""A health check: given the endpoint (healthz, livez, readyz), None or what is wrong."""

Shape = Callable[[Accepted, str], Representation | None]
"""Chooses another representation by what was agreed on and ``includeObject``, or None."""

_LEASE_SHARE_S = 60.0
_OTHERS = (calls.PROXY, "log")
"""Subresources whose answers are somebody else's bytes."""

_CHUNK_BYTES = 128 * 1024
"""How much of a list is joined at a time."""


class Apiserver:
    """One API server over a store. Stateless beside its caches."""

    def __init__(
        self,
        world: World,
        store: Store,
        config: Config | None = None,
        kubelets: KubeletStreams | None = None,
    ) -> None:
        self.world = world
        self.store = store
        self.config = config or Config()
        self.kubelets = kubelets
        self.admission = Chain(
            PLUGINS, self.config.enable_admission_plugins, self.config.disable_admission_plugins,
            self.config.admission_configuration, world.clock,
        )  # fmt: skip
        self.metrics = metrics.Metrics(world.clock)
        self.webhooks: Webhooks = Webhooks(self)
        self.policies = AdmissionPolicies()
        self.metrics.more.append(self.webhooks.counted.lines)
        self.authenticator = Authenticator({})
        """Who holders of tokens and certificates are; bindings with a wire ask it."""
        self.auditor: Auditor | None = None
        """Logs requests; None: nobody does."""
        self.kinds = kinds.Registry()
        """What this server serves; CustomResourceDefinitions add to it."""
        self.caches: Caches = Caches(store, world.clock, world.rng, kinds.STORED, world.log)
        self.authorizer = authorizer.Authorizer(self, self.config.authorization_mode)
        low_high = self.config.node_port_range
        added = partial(ready_cidrs, self.caches.of(kinds.SERVICE_CIDR))
        self.ranges = Ranges(self.config.service_cidr, low_high, world.rng, added)
        self.caches.sink(FOLDER, self.ranges.see)
        self.routes = Routes()
        self.watch_rng = world.rng.child("watch")
        """Draws how long a watch without timeoutSeconds lasts."""
        self.shapes: list[Shape] = []
        """Other representations than plain JSON, asked in order (Tables, metadata only)."""
        self.checks: dict[str, Check] = {
            "ping": lambda _endpoint: None,
            "log": lambda _endpoint: None,
            "etcd": self.check_store,
            "informer-sync": lambda _endpoint: None if self._running else "caches not synced",
            "shutdown": lambda endpoint: (
                "process is shutting down" if self._stopping and endpoint == "readyz" else None
            ),
        }
        self._running = False
        self._stopping = False
        self._lease = 0
        self._lease_until_ns = 0
        self.flowcontrol = FlowControl(self)
        self.metrics.more.append(self.flowcontrol.lines)
        for route in (*health.ROUTES, *metrics.ROUTES, *dumps.ROUTES):
            self.routes.add(route)
        install(self)
        self.source = meta.Source(world)
        self.reads, self.moulds = Reads(self), Moulds(self)
        self.definitions = Definitions(self)
        self.aggregator = Aggregator(self)
        self.trust = Trust(self)
        self.ensurer = Ensurer(self)

    def issue_tokens(self, issuer: Issuer) -> None:
        """Give service accounts tokens of ``issuer``, and let their holders in."""
        self.authenticator.accounts = ServiceAccounts(self, issuer)

    async def start(self) -> None:
        """Load the caches; ready afterwards."""
        await self.caches.start()
        self._running = True

    def stop(self) -> None:
        """End every watch; not ready from now on."""
        self._stopping = True
        self.webhooks.client.close()
        self.definitions.stop()
        self.aggregator.stop()
        self.trust.stop()
        self.ensurer.stop()
        self.caches.stop()

    # ------------------------------------------------------------ the way of a request

    async def handle(self, request: Request) -> Response:
        """Answer one request. Every failure is a Status; only cancellation passes through."""
        if self.auditor is not None:
            return await self.auditor.observed(request, self.answer)
        return await self.answer(request)

    async def answer(self, request: Request) -> Response:
        """``handle`` without the audit log."""
        try:
            return await self._dispatch(request)
        except ApiError as error:
            failed = answers.error(error)
        except OutcomeUnknownError as error:
            failed = self._unavailable(request, ApiError("Timeout", str(error)))
        except UnavailableError as error:
            failed = self._unavailable(request, ApiError("InternalError", str(error)))
        except Exception:
            self.world.log.exception("request failed", method=request.method, path=request.path)
            failed = answers.error(ApiError("InternalError", answers.FAILED))
        return rewritten(request, failed)

    def _unavailable(self, request: Request, error: ApiError) -> Response:
        """The store is away. No Retry-After: clients would repeat what may have happened."""
        self.world.log.info(
            "store unavailable", method=request.method, path=request.path, error=error.message
        )
        return answers.error(error)

    def stale(self, key: str) -> bool:
        """Whether an object should be written though nothing of it changes: with a newer key."""
        return isinstance(self.store, EncryptedStore) and self.store.stale(key)

    async def check_store(self, _endpoint: str = "") -> str | None:
        """What is wrong with the store; None when nothing is."""
        if not self._running:
            return "not started"
        try:
            await self.store.check()
        except UnavailableError as error:
            self.world.log.info("store check failed", error=str(error))
            return "reason withheld"
        return None

    async def _dispatch(self, request: Request) -> Response:
        if len(request.body) > MAX_BODY_BYTES:
            raise ApiError("RequestEntityTooLarge", TOO_LARGE)
        request = impersonation.applied(self, request)
        remote = self.aggregator.of(request.path)
        if remote is not None:
            self._demand_path(request)
            return await self._seated(
                request, None, partial(self.aggregator.handle, request, remote)
            )
        route = self.routes.path(request.path)
        if route is not None:
            if not route.open or self.authorizer.enforces:
                self._demand_path(request)
            if request.method not in route.methods:
                raise calls.method_not_allowed()
            return rewritten(
                request, await self._seated(request, None, partial(route.handler, self, request))
            )
        call = self._call(request)
        if call is None:
            return rewritten(request, answers.nobody_serves(request.path))
        handler = self.routes.verb(call)
        if handler is None:
            raise calls.method_not_allowed()
        response = await self._seated(request, call, partial(self._served, call, handler))
        return response if call.subresource in _OTHERS else rewritten(request, response)

    async def _served(self, call: Call, handler: ResourceHandler) -> Response:
        if call.kind.custom is not None:
            await self.definitions.prepare(call.kind)
        response = await self.metrics.observed(call, handler(self, call))
        told = deprecated(call.kind)
        if told or call.warnings:
            warnings = [told, *call.warnings] if told else call.warnings
            texts = [answers.quoted_warning(text) for text in warnings]
            response.headers["warning"] = ", ".join(texts)
        return response

    async def _seated(
        self, request: Request, call: Call | None, serve: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer once the request has a seat; 429 when it gets none."""
        control = self.flowcontrol
        place = control.place(request, call)
        try:
            if place is None:
                counted = control.begin(request, call)
                try:
                    return await serve()
                finally:
                    control.end(counted)
            asked = await control.enter(place, call)
        except Refused as refused:
            response = answers.text("Too many requests, please try again later.\n", 429)
            response.headers["retry-after"] = str(refused.retry_s)
        else:
            try:
                response = await serve()
            except ApiError as error:
                response = answers.error(error)
            finally:
                control.leave(place, asked)
        if place is not None:
            response.headers.update(place.headers)
        return response

    def authorized(self, request: Request) -> Call | None:
        """The resource call that a request makes, None when there is no such resource.

        Raises ApiError.
        """
        return self._call(impersonation.applied(self, request))

    def permitted(self, request: Request) -> Request:
        """A request on what is not served here, as whom it is made. Raises ApiError."""
        request = impersonation.applied(self, request)
        self._demand_path(request)
        return request

    def _call(self, request: Request) -> Call | None:
        user = request.user or ANONYMOUS
        try:
            call = calls.parse(request, user, self.kinds)
        except ApiError:
            self._demand_path(request)  # what a path means is nobody's business who may not ask
            raise
        if call is None:
            self._demand_path(request)
        else:
            authorizer.demand(self, call.attributes)
            if self.auditor is not None:
                call.annotations = self.auditor.notes()
        return call

    def _demand_path(self, request: Request) -> None:
        authorizer.demand(self, calls.asked(request, request.user or ANONYMOUS))

    # ------------------------------------------------------------ shared by verbs

    def shape(
        self, accept: str, include: str = "", *, stream: bool = False
    ) -> Representation | None:
        """The representation an Accept header asks for; None is plain JSON.

        ``include`` is the includeObject parameter of Tables; ``stream`` says it is for a watch.
        YAML is made of the JSON at the end (encodings.rewritten).

        Raises ApiError NotAcceptable when nothing in the header can be served.
        """
        if not accept or accept == answers.JSON_TYPE:
            return None
        found = negotiation.accepted(accept, stream=stream)
        if found.media == PROTOBUF_TYPE:
            return ProtobufMetadata(found.version) if found.target else Protobuf()
        if found.target:
            for choose in self.shapes:
                shape = choose(found, include)
                if shape is not None:
                    return shape
        return None

    def one(self, entry: Entry, shape: Representation | None, status: int = 200) -> Response:
        """An answer with one object."""
        if shape is None:
            return answers.OneObject(entry, status)
        return answers.raw(shape.one(entry), status, shape.content_type)

    def many(
        self,
        kind: Kind[Any],
        entries: Sequence[Entry],
        meta: JSON,
        shape: Representation | None,
    ) -> Response:
        """An answer with a list, spliced from the objects' bytes while it is sent. ``meta`` is
        its ListMeta.
        """
        if shape is not None:
            return answers.chunked(shape.many(kind, entries, meta), shape.content_type)
        head = msgspec.json.encode(
            {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": meta}
        )
        items = self.caches.of(kind).splice.items(entries, _CHUNK_BYTES)
        return answers.chunked(chain((head[:-1] + b',"items":[',), items, (b"]}",)))

    async def event_lease(self) -> int:
        """A lease for an Event, shared by the events of a minute as upstream shares them."""
        now_ns = self.world.clock.monotonic_ns()
        if now_ns >= self._lease_until_ns:
            lease = await self.store.grant(self.config.event_ttl_s + _LEASE_SHARE_S)
            self._lease, self._lease_until_ns = lease, now_ns + int(_LEASE_SHARE_S * 1e9)
        return self._lease

    def forget_event_lease(self) -> None:
        """The store does not know the shared lease (any more): take a new one for the next."""
        self._lease_until_ns = 0


class DirectApi:
    """Counter 1 in the same process, under one identity."""

    def __init__(self, server: Apiserver, user: User) -> None:
        self._server = server
        self._user = user

    async def send(self, request: Request) -> Response:
        """Perform one request; as over a wire, a header cannot choose the user."""
        if request.user is None:
            request = replace(request, user=self._user)
        return await self._server.handle(request)

    def at_once(self, request: Request) -> Response | None:
        """The answer to a GET that needs no waiting; None leaves it to ``send``."""
        return self._server.reads.answer(request)

    async def restored(self) -> None:
        """Never: a server in the same process is not lost."""
        await asyncio.get_running_loop().create_future()
