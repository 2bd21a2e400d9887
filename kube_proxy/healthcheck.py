"""healthCheckNodePort: a port per Service by which load balancers learn which nodes serve it.

Source: kubernetes pkg/proxy/healthcheck/service_health.go (statuses, headers, body).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from podwire.client import http1
from podwire.client.counters import Listener
from podwire.kube_proxy.model import Check
from podwire.runtime.tasks import Nursery

Listen = Callable[[int], Awaitable[Listener | None]]


class HealthChecks:
    """The open ports of one node. ``proxy_alive`` says whether the proxier keeps up."""

    def __init__(self, nursery: Nursery, listen: Listen, proxy_alive: Callable[[], bool]) -> None:
        self._nursery, self._listen, self._alive = nursery, listen, proxy_alive
        self._checks: dict[str, Check] = {}
        self._open: dict[str, tuple[int, Listener]] = {}

    async def sync(self, wanted: Mapping[str, Check]) -> None:
        """Open and close ports until they are those of ``wanted`` (by ``ns/name``)."""
        self._checks = dict(wanted)
        for key in [k for k, (port, _) in self._open.items() if _port(wanted, k) != port]:
            self._open.pop(key)[1].close()
        for key, check in wanted.items():
            if key in self._open:
                continue
            listener = await self._listen(check.port)
            if listener is not None:
                self._open[key] = (check.port, listener)
                self._nursery.start(self._serve(key, listener), name=f"health of {key}")

    async def _serve(self, key: str, listener: Listener) -> None:
        async def answer(_: http1.Request) -> http1.Response:
            return self.answer(key)

        await http1.serve(listener, answer)

    def answer(self, key: str) -> http1.Response:
        """What the port of a Service says."""
        check = self._checks.get(key)
        count, alive = check.local_endpoints if check else 0, self._alive()
        namespace, _, name = key.partition("/")
        body = (
            f'{{\n\t"service": {{\n\t\t"namespace": "{namespace}",\n\t\t"name": "{name}"\n\t}},\n'
            f'\t"localEndpoints": {count},\n\t"serviceProxyHealthy": {str(alive).lower()}\n}}'
        )
        answer = http1.text(body, 200 if count and alive else 503, "application/json")
        answer.headers += [
            ("X-Content-Type-Options", "nosniff"),
            ("X-Load-Balancing-Endpoint-Weight", str(count)),
        ]
        return answer


def _port(wanted: Mapping[str, Check], key: str) -> int:
    check = wanted.get(key)
    return check.port if check else 0
