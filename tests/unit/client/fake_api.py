"""A tiny API server for tests: one revisioned dict, watches, faults on demand.

It knows just enough semantics for clients: resourceVersions, generateName, uid preconditions,
finalizers, graceful pod deletion, merge patches. No validation, no defaulting, no selectors beyond
label equality and metadata.name / spec.nodeName fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.client.counters import Frame, Request, Response
from podwire.client.ctx import Ctx
from podwire.runtime.env import Env

Hook = Callable[[Request], ApiError | None]


class FakeApi:
    """Implements the Api counter. ``refuse`` may answer a request with an error (or raise)."""

    def __init__(self, env: Env, *, watch_delay_s: float = 0.0, watch_list: bool = True) -> None:
        self.env = env
        self.revision = 10
        self.objects: dict[tuple[Kind[Any], str], JSON] = {}
        self.log: list[tuple[int, Kind[Any], str, JSON, JSON | None]] = []
        self.compacted = 0
        self.watch_delay_s = watch_delay_s
        self.watch_list = watch_list
        self.requests: list[Request] = []
        self.refuse: Hook | None = None
        self.lose: Callable[[Request], bool] = lambda _: False
        """Whether the answer to a request is lost on its way back."""
        self._watchers: list[asyncio.Queue[Any]] = []

    # -------------------------------------------------------- for tests

    def writes(self) -> list[str]:
        """``METHOD path`` of every write so far."""
        return [f"{r.method} {r.path}" for r in self.requests if r.method != "GET"]

    def all(self, kind: Kind[Any]) -> list[JSON]:
        return [body for (k, _), body in sorted_items(self.objects) if k is kind]

    def get(self, kind: Kind[Any], key: str) -> JSON:
        return self.objects[kind, key]

    def put(self, kind: Kind[Any], body: JSON) -> JSON:
        """Store an object as if someone wrote it (status included)."""
        meta = body.setdefault("metadata", {})
        key = f"{meta['namespace']}/{meta['name']}" if kind.namespaced else meta["name"]
        old = self.objects.get((kind, key))
        meta.setdefault("uid", old["metadata"]["uid"] if old else self.env.ids.uid())
        meta.setdefault("creationTimestamp", format_time(self.env.clock.now_ns()))
        meta.setdefault("generation", 1)
        return self._store(kind, key, body, "MODIFIED" if old else "ADDED")

    def remove(self, kind: Kind[Any], key: str) -> None:
        """Delete an object at once."""
        self._store(kind, key, dict(self.objects[kind, key]), "DELETED")

    def end_watches(self) -> None:
        """Every open watch stream ends normally."""
        for queue in self._watchers:
            queue.put_nowait(None)

    def break_watches(self) -> None:
        """Every open watch stream breaks."""
        for queue in self._watchers:
            queue.put_nowait(ConnectionError("connection reset by peer"))

    # -------------------------------------------------------- the counter

    async def restored(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        try:
            error = self.refuse(request) if self.refuse else None
            if error is not None:
                raise error
            response = self._handle(request)
        except ApiError as error:
            response = Response(error.code, msgspec.json.encode(error.status()))
        if self.lose(request):
            raise ConnectionError("connection reset by peer")
        return response

    def _handle(self, request: Request) -> Response:
        kind, namespace, name, sub = parse(request.path)
        query = dict(request.query)
        body = msgspec.json.decode(request.body) if request.body else {}
        if request.method == "GET" and query.get("watch"):
            return self._watch(kind, namespace, query)
        if request.method == "GET" and not name:
            return self._list(kind, namespace, query)
        if request.method == "POST" and sub == "binding":
            return self._bind(namespace, name, body)
        if request.method == "POST":
            return self._create(kind, namespace, body)
        key = f"{namespace}/{name}" if kind.namespaced else name
        current = self.objects.get((kind, key))
        if current is None:
            raise ApiError("NotFound", f'{kind.resource} "{name}" not found')
        if request.method == "GET":
            return _ok(current)
        if request.method == "DELETE":
            return self._delete(kind, key, current, body)
        if request.method == "PUT":
            return self._update(kind, key, current, body, sub)
        strategic = "strategic" in request.headers.get("content-type", "")
        return self._update(kind, key, current, merge(current, body, strategic), sub, body)

    def _create(self, kind: Kind[Any], namespace: str, body: JSON) -> Response:
        meta = dict(body.get("metadata") or {})
        if kind.namespaced:
            meta["namespace"] = namespace
            within = self.objects.get((kinds.NAMESPACE, namespace))
            if within is not None and within["metadata"].get("deletionTimestamp"):
                cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated")
                raise ApiError("Forbidden", "because it is being terminated", causes=(cause,))
        if not meta.get("name"):
            meta["name"] = meta.get("generateName", "") + self.env.ids.suffix()
        key = f"{namespace}/{meta['name']}" if kind.namespaced else meta["name"]
        if (kind, key) in self.objects:
            raise ApiError("AlreadyExists", f'{kind.resource} "{meta["name"]}" already exists')
        meta["uid"] = self.env.ids.uid()
        meta["creationTimestamp"] = format_time(self.env.clock.now_ns())
        meta["generation"] = 1
        made = self._store(kind, key, {**body, "metadata": meta}, "ADDED")
        return _ok(made, 201)

    def _update(
        self,
        kind: Kind[Any],
        key: str,
        old: JSON,
        new: JSON,
        sub: str,
        patch: JSON | None = None,
    ) -> Response:
        wanted = (patch if patch is not None else new).get("metadata") or {}
        for field in ("resourceVersion", "uid"):
            if wanted.get(field) and wanted[field] != old["metadata"][field]:
                raise ApiError("Conflict", f'Operation cannot be fulfilled on "{key}"')
        new = msgspec.json.decode(msgspec.json.encode(new))
        if sub == "finalize":
            new = {**old, "spec": {**old.get("spec", {}), **new.get("spec", {})}}
        if sub == "status":
            new = {**old, "metadata": new["metadata"], "status": new.get("status", {})}
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if _same(new, old):
            return _ok(old)
        gone = new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers")
        if kind is kinds.NAMESPACE and (new.get("spec") or {}).get("finalizers"):
            gone = False
        if gone and not (kind is kinds.POD and old["metadata"].get("deletionGracePeriodSeconds")):
            return _ok(self._store(kind, key, new, "DELETED"))
        return _ok(self._store(kind, key, new, "MODIFIED"))

    def _delete(self, kind: Kind[Any], key: str, current: JSON, options: JSON) -> Response:
        meta = dict(current["metadata"])
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != meta["uid"]:
            raise ApiError("Conflict", f"Precondition failed: UID in precondition: {uid}")
        policy = options.get("propagationPolicy")
        extra = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy or "")
        finalizers = [*meta.get("finalizers", [])]
        if extra and extra not in finalizers:
            finalizers.append(extra)
        grace = options.get("gracePeriodSeconds")
        if kind is kinds.POD and grace is None:
            grace = (current.get("spec") or {}).get("terminationGracePeriodSeconds", 30)
        graceful = kind is kinds.POD and (current.get("spec") or {}).get("nodeName") and grace
        if kind is kinds.NAMESPACE and (current.get("spec") or {}).get("finalizers"):
            graceful = True
        if not finalizers and not graceful:
            return _ok(self._store(kind, key, dict(current), "DELETED"))
        if meta.get("deletionTimestamp") and finalizers == meta.get("finalizers", []):
            return _ok(current)
        meta["finalizers"] = finalizers
        meta["deletionTimestamp"] = format_time(self.env.clock.now_ns())
        if kind is kinds.POD:
            meta["deletionGracePeriodSeconds"] = grace
        return _ok(self._store(kind, key, {**current, "metadata": meta}, "MODIFIED"))

    def _bind(self, namespace: str, name: str, body: JSON) -> Response:
        key = f"{namespace}/{name}"
        pod = self.objects.get((kinds.POD, key))
        if pod is None:
            raise ApiError("NotFound", f'pods "{name}" not found')
        if (pod.get("spec") or {}).get("nodeName"):
            raise ApiError("Conflict", f"pod {name} is already assigned to node")
        spec = {**pod.get("spec", {}), "nodeName": body["target"]["name"]}
        self._store(kinds.POD, key, {**pod, "spec": spec}, "MODIFIED")
        return _ok({"kind": "Status", "status": "Success"}, 201)

    def _list(self, kind: Kind[Any], namespace: str, query: dict[str, str]) -> Response:
        items = [b for b in self.all(kind) if selected(b, namespace, query)]
        meta = {"resourceVersion": str(self.revision)}
        return _ok({"kind": f"{kind.kind}List", "metadata": meta, "items": items})

    def _watch(self, kind: Kind[Any], namespace: str, query: dict[str, str]) -> Response:
        initial = bool(query.get("sendInitialEvents"))
        if initial and not self.watch_list:
            raise ApiError("Invalid", "sendInitialEvents is forbidden for watch")
        since = int(query.get("resourceVersion") or 0)
        if since and since < self.compacted:
            raise ApiError("Expired", f"too old resource version: {since} ({self.compacted})")
        queue: asyncio.Queue[Any] = asyncio.Queue()
        if initial or not since:
            for body in self.all(kind):
                if selected(body, namespace, query):
                    queue.put_nowait(_frame("ADDED", body))
            if initial:
                note = {"k8s.io/initial-events-end": "true"}
                meta = {"resourceVersion": str(self.revision), "annotations": note}
                queue.put_nowait(_frame("BOOKMARK", {"metadata": meta}))
            since = self.revision
        self._watchers.append(queue)
        for entry in self.log:
            if entry[0] > since:
                queue.put_nowait(entry)

        async def stream() -> AsyncIterator[Frame]:
            try:
                while (item := await queue.get()) is not None:
                    if isinstance(item, ConnectionError):
                        raise item
                    if isinstance(item, Frame):
                        yield item
                        continue
                    if self.watch_delay_s:
                        await self.env.clock.sleep(self.watch_delay_s)
                    frame = _event(item, kind, namespace, query)
                    if frame is not None:
                        yield frame
            finally:
                self._watchers.remove(queue)

        return Response(200, stream=stream())

    def _store(self, kind: Kind[Any], key: str, body: JSON, event: str) -> JSON:
        self.revision += 1
        old = self.objects.get((kind, key))
        meta = {**body["metadata"], "resourceVersion": str(self.revision)}
        full = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": meta}
        if event == "DELETED":
            self.objects.pop((kind, key), None)
        else:
            self.objects[kind, key] = full
        entry = (self.revision, kind, event, full, old)
        self.log.append(entry)
        for queue in list(self._watchers):
            queue.put_nowait(entry)
        return full


def sorted_items(objects: dict[tuple[Kind[Any], str], JSON]) -> list[Any]:
    return sorted(objects.items(), key=lambda item: (item[0][0].plural, item[0][1]))


def parse(path: str) -> tuple[Kind[Any], str, str, str]:
    """Kind, namespace, name, subresource of a URL path."""
    parts = path.strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:])
    if parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    kind = kinds.by_plural(group, version, rest[0])
    assert kind is not None, path
    return kind, namespace, *([*rest[1:], "", ""][:2])  # type: ignore[return-value]


def merge(target: Any, patch: Any, strategic: bool = False) -> Any:
    """RFC 7386; with ``strategic`` conditions merge by type (all these tests need)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif strategic and name == "conditions":
            kept = {c["type"]: c for c in result.get(name, [])}
            for condition in value:
                kept[condition["type"]] = merge(kept.get(condition["type"]), condition)
            result[name] = list(kept.values())
        else:
            result[name] = merge(result.get(name), value, strategic)
    return result


def selected(body: JSON, namespace: str, query: dict[str, str]) -> bool:
    meta = body["metadata"]
    if namespace and meta.get("namespace") != namespace:
        return False
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = term.partition("=")
        if (meta.get("labels") or {}).get(name) != value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        found: Any = body
        for part in name.split("."):
            found = (found or {}).get(part)
        if (found or "") != value:
            return False
    return True


def _event(entry: Any, kind: Kind[Any], namespace: str, query: dict[str, str]) -> Frame | None:
    _, of, event, body, old = entry
    if of is not kind:
        return None
    now = event != "DELETED" and selected(body, namespace, query)
    before = old is not None and selected(old, namespace, query)
    if now:
        return _frame("MODIFIED" if before else "ADDED", body)
    return _frame("DELETED", body) if before else None


def _frame(event: str, body: JSON) -> Frame:
    return Frame(msgspec.json.encode({"type": event, "object": body}) + b"\n")


def _same(new: JSON, old: JSON) -> bool:
    ignored = {"resourceVersion": None, "generation": None}
    return {**new, "metadata": {**new["metadata"], **ignored}} == {
        **old,
        "metadata": {**old["metadata"], **ignored},
    }


def _ok(body: JSON, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(body))


def make_ctx(env: Env, api: FakeApi, config: Any = None) -> Ctx:
    """A ctx with only the API counter."""
    nothing: Any = None
    return Ctx(
        api, nothing, nothing, nothing, (), nothing, env.clock, env.rng, env.ids, env.trace,
        env.log, config,
    )  # fmt: skip
