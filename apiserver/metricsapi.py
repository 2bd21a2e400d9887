"""metrics.k8s.io: what pods and nodes use, asked of their kubelets when somebody asks.

In a real cluster the metrics-server serves this group behind an APIService; here the API server
answers itself, until such an APIService is made (``aggregation``). Source of the form:
k8s.io/metrics pkg/apis/metrics/v1beta1; of behaviour and columns: kubernetes-sigs/metrics-server
pkg/api. Every answer is JSON (or a Table), never protobuf. A kubelet that does not answer has no
figures, as when a scrape fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.apiserver import answers
from podwire.apiserver.cache.entry import Entry, Representation, Splice
from podwire.apiserver.calls import Call
from podwire.apiserver.encodings import Protobuf, ProtobufMetadata
from podwire.apiserver.registry import list as list_verb
from podwire.apiserver.storage import encode
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

WINDOW = "15s"
_SPLICES = {kind: Splice(kind) for kind in (kinds.POD_METRICS, kinds.NODE_METRICS)}
_SUMMARY = Request("GET", "/stats/summary")
_TIMEOUT_S = 10


class _Cpu(msgspec.Struct, rename="camel"):
    time: str
    usage_nano_cores: int


class _Memory(msgspec.Struct, rename="camel"):
    working_set_bytes: int


class _Container(msgspec.Struct):
    name: str
    cpu: _Cpu
    memory: _Memory


class _Reference(msgspec.Struct):
    uid: str


class _Pod(msgspec.Struct, rename="camel"):
    pod_ref: _Reference
    containers: list[_Container]


class _Node(msgspec.Struct):
    cpu: _Cpu
    memory: _Memory


class _Summary(msgspec.Struct):
    node: _Node
    pods: list[_Pod]


_decoder = msgspec.json.Decoder(_Summary)


def install(server: Apiserver) -> None:
    """Enter the verbs into the server's table."""
    for kind in _SPLICES:
        server.routes.add_verb("list", _list, kind=kind)
        server.routes.add_verb("get", _get, kind=kind)


async def _list(server: Apiserver, call: Call) -> Response:
    """All that are selected and have figures."""
    selection = list_verb.select(call)
    entries = [e for e in await _entries(server, call, "") if selection.matches(e)]
    shape = _shape(server, call)
    if shape is None:
        items = [msgspec.Raw(entry.value) for entry in entries]
        kind = call.kind
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": {}}
        return answers.json({**head, "items": items})
    return answers.chunked(shape.many(call.kind, entries, {}), shape.content_type)


async def _get(server: Apiserver, call: Call) -> Response:
    """One by name."""
    shape = _shape(server, call)
    for entry in await _entries(server, call, call.name):
        return answers.raw(entry.value) if shape is None else server.one(entry, shape)
    name = f"{call.namespace}/{call.name}" if call.namespace else call.name
    resource = "podmetrics" if call.kind is kinds.POD_METRICS else "nodemetrics"
    group = call.kind.group
    details: JSON = {"name": name, "group": group, "kind": resource}
    raise ApiError("NotFound", f'{resource}.{group} "{name}" not found', details=details)


def _shape(server: Apiserver, call: Call) -> Representation | None:
    """What the client asks for, but JSON for protobuf."""
    accept = call.request.headers.get("accept", "")
    shape = server.shape(accept, call.query.get("includeObject"))
    return None if isinstance(shape, Protobuf | ProtobufMetadata) else shape


async def _entries(server: Apiserver, call: Call, name: str) -> list[Entry]:
    await server.caches.fresh()
    if call.kind is kinds.NODE_METRICS:
        nodes = server.caches.of(kinds.NODE).entries("")
        chosen = [e.view for e in nodes if name in {"", e.view.metadata.name}]
        found = await _summaries(server, [node.metadata.name for node in chosen])
        return [
            _entry(call.kind, node.metadata, _node_body(found[node.metadata.name].node))
            for node in chosen
            if node.metadata.name in found
        ]
    pods = [e.view for e in server.caches.of(kinds.POD).entries(call.namespace)]
    running = [p for p in pods if name in {"", p.metadata.name} and _measured(p)]
    found = await _summaries(server, [pod.spec.node_name for pod in running])
    figures = {pod.pod_ref.uid: pod for node in found.values() for pod in node.pods}
    made = []
    for pod in running:
        known = figures.get(pod.metadata.uid)
        # A pod of which one container has no figures yet has none, so that sums are whole.
        if known is not None and len(known.containers) >= max(1, len(pod.spec.containers)):
            made.append(_entry(call.kind, pod.metadata, _pod_body(known)))
    return made


def _measured(pod: Pod) -> bool:
    return pod.status.phase == "Running" and bool(pod.spec.node_name)


async def _summaries(server: Apiserver, nodes: Sequence[str]) -> dict[str, _Summary]:
    """What the kubelets of some nodes tell, by node."""
    names = list(dict.fromkeys(nodes))
    answered = await asyncio.gather(*(_summary(server, name) for name in names))
    return {name: found for name, found in zip(names, answered, strict=True) if found is not None}


async def _summary(server: Apiserver, node: str) -> _Summary | None:
    if server.kubelets is None:
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            response = await server.kubelets.http(node, _SUMMARY)
    except (ConnectionError, TimeoutError, ApiError) as error:
        server.world.log.info("no figures of a node", node=node, error=str(error))
        return None
    if response.status != 200:
        return None
    try:
        return _decoder.decode(response.body)
    except msgspec.DecodeError as error:  # ValidationError is one
        server.world.log.info("no figures of a node", node=node, error=str(error))
        return None


def _usage(cpu_nano: int, memory_bytes: int) -> JSON:
    return {"cpu": f"{cpu_nano}n" if cpu_nano else "0", "memory": f"{-(-memory_bytes // 1024)}Ki"}


def _node_body(node: _Node) -> JSON:
    usage = _usage(node.cpu.usage_nano_cores, node.memory.working_set_bytes)
    return {"timestamp": node.cpu.time, "window": WINDOW, "usage": usage}


def _pod_body(pod: _Pod) -> JSON:
    containers = [
        {"name": c.name, "usage": _usage(c.cpu.usage_nano_cores, c.memory.working_set_bytes)}
        for c in pod.containers
    ]
    times = [c.cpu.time for c in pod.containers]
    return {"timestamp": min(times), "window": WINDOW, "containers": containers}


def _entry(kind: Kind[Any], about: Any, body: JSON) -> Entry:
    meta = {"name": about.name, "creationTimestamp": body["timestamp"]}
    if about.namespace:
        meta["namespace"] = about.namespace
    if about.labels:
        meta["labels"] = dict(about.labels)
    key = f"{about.namespace}/{about.name}" if about.namespace else about.name
    return Entry(kind, _SPLICES[kind], key, encode(kind, {"metadata": meta, **body}), 0)
