"""Kubelet's own HTTP endpoints (port 10250), as far as they are modelled.

Source of the paths: pkg/kubelet/server/server.go. /exec, /attach and /portForward are calls of
counter 6; clients come to them by the API server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.client.counters import Frame, LogOptions, Request, Response
from podwire.kubelet.state import Kubelet
from podwire.kubelet.summary import summary

if TYPE_CHECKING:
    from podwire.kubelet.streams import Streams

HEALTHY = ("/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop")
NOT_MODELLED = (
    "/attach", "/checkpoint", "/configz", "/cri", "/debug", "/exec", "/logs", "/metrics",
    "/portForward", "/run", "/spec", "/stats",
)  # fmt: skip
"""What a kubelet serves and this one does not."""


async def answer(kubelet: Kubelet, streams: Streams, request: Request) -> Response:
    """Answer one request. ``request.path`` is a path of the kubelet."""
    path = request.path.rstrip("/") or "/"
    if request.method != "GET":
        return _text("405: Method Not Allowed", 405)
    if path in HEALTHY:
        return _text("ok")
    if path in {"/pods", "/runningpods"}:
        return await _pods(kubelet, running=path == "/runningpods")
    if path == "/stats/summary":
        body = msgspec.json.encode(summary(kubelet))
        return Response(200, body, {"content-type": "application/json"})
    if path.startswith("/containerLogs/"):
        return await _logs(kubelet, streams, path, dict(reversed(request.query)))
    if any(path == known or path.startswith(f"{known}/") for known in NOT_MODELLED):
        return _text(f"{path} of the kubelet is not modelled\n", 501)
    return _text("404 page not found\n", 404)


async def _pods(kubelet: Kubelet, *, running: bool) -> Response:
    """The pods bound to this node, as the API knows them."""
    query = [("fieldSelector", f"spec.nodeName={kubelet.config.node}")]
    found = await kubelet.client.send("GET", kinds.POD.path(), tuple(query))
    pods = msgspec.json.decode(found.body)
    if running:
        pods["items"] = [p for p in pods["items"] if p["status"].get("phase") == "Running"]
    pods["metadata"] = {}
    return Response(200, msgspec.json.encode(pods), {"content-type": "application/json"})


async def _logs(
    kubelet: Kubelet, streams: Streams, path: str, query: Mapping[str, str]
) -> Response:
    parts = path.split("/")[2:]
    if len(parts) != 3:
        return _text("404 page not found\n", 404)
    numbers = {name: query.get(name, "") for name in ("tailLines", "sinceSeconds", "limitBytes")}
    if any(value and not value.isdecimal() for value in numbers.values()):
        return _text('{"message": "Unable to decode query."}', 400)
    counts = {name: int(value) if value else None for name, value in numbers.items()}
    options = LogOptions(
        follow=query.get("follow") == "true",
        previous=query.get("previous") == "true",
        timestamps=query.get("timestamps") == "true",
        tail_lines=counts["tailLines"],
        since_seconds=counts["sinceSeconds"],
        since_time=query.get("sinceTime", ""),
        limit_bytes=counts["limitBytes"],
    )
    try:
        namespace, pod, container = parts
        lines = await streams.logs(kubelet.config.node, namespace, pod, container, options)
    except ApiError as error:
        return _text(error.message, error.code)
    response = _text("")
    response.stream = _frames(lines)
    return response


async def _frames(lines: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    try:
        async for line in lines:
            yield Frame(line)
    finally:
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()


def _text(body: str, status: int = 200) -> Response:
    return Response(status, body.encode(), {"content-type": "text/plain; charset=utf-8"})
