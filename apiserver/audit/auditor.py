"""Watches requests go by and logs them as the policy says.

The user that is logged is who asked; whom he impersonates stands beside. Of a watch ResponseStarted
is told when it begins and ResponseComplete when it ends; of other streams (logs, exec) both when
they begin: how long those last is not modelled. Source: apiserver pkg/endpoints/filters (audit.go,
authorization.go) and pkg/audit (request.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from podwire.api import codec
from podwire.api.status import ApiError
from podwire.api.times import format_micro_time
from podwire.api.view import JSON
from podwire.apiserver import answers, calls, impersonation
from podwire.apiserver.audit import events
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.cache.watcher import Watcher
from podwire.client.api import url
from podwire.client.counters import ANONYMOUS, Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.audit.policy import Decision, Policy  # it brings pydantic along
    from podwire.apiserver.server import Apiserver

R = TypeVar("R")

_NOTES: ContextVar[dict[str, str]] = ContextVar("annotations")
"""What admission says of the request that this task answers."""
_BODIES = ("create", "update", "patch", "delete", "deletecollection")
_WITH_REQUEST = ("Request", "RequestResponse")


class Sink(Protocol):
    """Takes lines."""

    def write(self, line: bytes) -> None:
        """One event."""


class Auditor:
    """Logs the requests of one server to ``sink``."""

    def __init__(self, server: Apiserver, policy: Policy, sink: Sink) -> None:
        self._server = server
        self._policy = policy
        self._sink = sink

    async def observed(self, request: Request, handle: Callable[[Request], Awaitable[R]]) -> R:
        """Answer a request by ``handle`` and log it. Raises what that raises."""
        asked = self._attributes(request)
        decision = self._policy.decide(asked)
        _NOTES.set({})
        if decision.level == "None":
            return await handle(request)
        server = self._server
        event = events.begun(
            request, asked, decision.level, server.world.ids.uid(), url(request), self._now()
        )
        self._log(decision, event)
        try:
            answer = await handle(request)
        except ApiError as error:
            self._answered(decision, event, request, asked, answers.error(error))
            raise
        found = answer if isinstance(answer, Response) else Response(101)
        self._answered(decision, event, request, asked, found)
        return answer

    @staticmethod
    def notes() -> dict[str, str]:
        """Where annotations go of the event that the current request will have."""
        return _NOTES.get()

    def _now(self) -> str:
        return format_micro_time(self._server.world.clock.now_ns())

    def _attributes(self, request: Request) -> Attributes:
        user = request.user or ANONYMOUS
        try:
            call = calls.parse(request, user, self._server.kinds)
        except ApiError:
            call = None
        return call.attributes if call is not None else calls.asked(request, user)

    def _log(self, decision: Decision, event: JSON) -> None:
        if event["stage"] not in decision.omit_stages:
            self._sink.write(msgspec.json.encode(event))

    def _answered(
        self,
        decision: Decision,
        event: JSON,
        request: Request,
        asked: Attributes,
        response: Response,
    ) -> None:
        more: dict[str, Any] = {"annotations": {}}
        user = self._acting(request)
        if user is not None:
            if user is not asked.user:
                event = {**event, "impersonatedUser": events.user_of(user)}
                asked = msgspec.structs.replace(asked, user=user)
            allowed, reason = self._server.authorizer.decide(asked)
            told = {events.DECISION: "allow" if allowed else "forbid", events.REASON: reason}
            more["annotations"] = {**told, **self.notes()}
        body = self._body(request, asked)
        if isinstance(body, dict):
            event = events.named_by(event, body)
        more["responseStatus"] = events.response_status(response)
        if response.stream is not None or response.status == 101:
            self._log(decision, events.at_stage(event, events.STARTED, self._now(), **more))
        if decision.level in _WITH_REQUEST and body is not None:
            more["requestObject"] = _shown(decision, body)
        if decision.level == "RequestResponse" and response.stream is None:
            more["responseObject"] = _shown(decision, events.decoded(response.body))

        def complete() -> None:
            self._log(decision, events.at_stage(event, events.COMPLETE, self._now(), **more))

        if isinstance(response.stream, Watcher):
            _at_end(response.stream, complete)
        else:
            complete()

    def _acting(self, request: Request) -> Any:
        """Who the request is made as; None where he may not be (that was the answer)."""
        try:
            return impersonation.applied(self._server, request).user or ANONYMOUS
        except ApiError:
            return None

    def _body(self, request: Request, asked: Attributes) -> Any:
        """What was sent, decoded; None for nothing, and for what cannot be read."""
        if asked.path or asked.verb not in _BODIES or not request.body:
            return None
        return codec.value_of(request.headers.get("content-type", ""), request.body)


def _shown(decision: Decision, body: Any) -> Any:
    return events.without_managed(body) if decision.omit_managed_fields else body


def _at_end(watcher: Watcher, call: Callable[[], None]) -> None:
    before = watcher.on_end

    def ended() -> None:
        if before is not None:
            before()
        call()

    watcher.on_end = ended
