"""A cluster in virtual time, driven step by step from ordinary synchronous code.

Tests, ``podwire trace -f`` and chaos use it. Nothing happens between calls: time passes only while
a call waits for something.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.status import ApiError
from podwire.api.view import JSON, V
from podwire.api.views import Node, Pod
from podwire.client.api import STRATEGIC
from podwire.explain.report import Report, TraceSpec
from podwire.runtime import sim
from podwire.runtime.history import History
from podwire.runtime.simloop import SimLoop
from podwire.runtime.tasks import Nursery
from podwire.sim import snapshots
from podwire.sim.cluster import Cluster
from podwire.sim.manifests import load, parse
from podwire.sim.readiness import INGRESS_NAMESPACE, is_up, obstacle
from podwire.sim.settings import ClusterSettings

T = TypeVar("T")
BOOT_TIMEOUT_S = 300.0
CONVERGE_TIMEOUT_S = 300.0
QUIET_S = 1.5
"""Agents are taken to have caught up when nothing was written and no node was commanded for this
long; kube-proxy syncs at most once a second."""
_SETTLE_S = 0.001
_STRICT = (("fieldValidation", "Strict"),)
_RESTLESS = re.compile(r"/(leases|events)/")
"""Writes that never cease."""


class RoomFailedError(Exception):
    """A room of the simulated cluster raised: a bug of podwire's, never of the scenario."""


class NotConvergedError(Exception):
    """What was waited for did not happen within its virtual time; the message shows the state."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command in a pod printed, and its exit code."""

    stdout: str
    stderr: str
    code: int


class VirtualCluster:
    """See the module. A context manager; ``close`` ends every task.

    ``seed`` decides every interleaving: the same seed and calls give the same ``trace_hash``.
    """

    def __init__(
        self,
        settings: ClusterSettings | None = None,
        seed: int = 0,
        *,
        horizon_s: float = 24 * 3600.0,
        log_level: str = "off",
        hash_schedule: bool = False,
        keep_history: bool = False,
    ) -> None:
        settings = settings or ClusterSettings(time_profile="fast")
        snapshot = snapshots.newborn(settings)
        self.loop = SimLoop(seed, horizon_s=horizon_s, hash_schedule=hash_schedule)
        self.env = sim.env(self.loop, seed, log_level, keep_history=keep_history)
        assert isinstance(self.env.trace, History)
        self.history: History = self.env.trace
        self.history.on_fact = self._on_fact
        self._moved = asyncio.Event()
        self._last_move_ns = 0
        self.cluster = Cluster(self.env, settings, snapshot=snapshot)
        self.cluster.on_failure = self._room_failed
        self._failed: RoomFailedError | None = None
        self._obstacle: tuple[Kind[Any], str, str] | None = None
        """What was not Ready when ``system_ready`` was asked last."""
        self._driver: asyncio.Task[Any] | None = None
        self._nursery = Nursery()
        self._open = True
        try:
            self.run(self._start())
        except BaseException:
            self.close()
            raise

    async def _start(self) -> None:
        await self._nursery.__aenter__()
        await self.cluster.start(self._nursery)

    # -- life

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the cluster and its loop; harmless when closed already."""
        if self._open:
            self._open = False
            self.history.on_fact = None
            sim.close(self.loop)

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run one coroutine to its end in virtual time."""

        async def main() -> T:
            return await awaitable

        driver: asyncio.Task[T] = self.loop.create_task(main(), name="driver")
        self._driver = driver
        try:
            return self.loop.run_until_complete(driver)
        except asyncio.CancelledError:
            if self._failed is not None:
                raise self._failed from self._failed.__cause__
            raise
        finally:
            if isinstance(awaitable, Coroutine):
                awaitable.close()  # a room may have failed before its first step

    def _room_failed(self, name: str, error: Exception) -> None:
        self._failed = RoomFailedError(f"{name} failed: {error!r}")
        self._failed.__cause__ = error
        if self._driver is not None:
            self._driver.cancel()

    # -- time

    @property
    def now_s(self) -> float:
        """Virtual seconds since the cluster was made."""
        return self.loop.now_ns / 1e9

    @property
    def trace_hash(self) -> str:
        """The digest of history so far."""
        return self.history.hash

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.run(self.env.clock.sleep(seconds))

    def _on_fact(self, kind: str, facts: tuple[str | int | bytes, ...]) -> None:
        if kind == "node" or (kind == "store" and not _RESTLESS.search(str(facts))):
            self._last_move_ns = self.loop.now_ns
        self._moved.set()

    def until(self, condition: Callable[[], Any], timeout_s: float = 120.0, what: str = "") -> Any:
        """Let time pass until ``condition()`` is true; its value.

        It is asked again a virtual millisecond after something happened (a store write, a node
        command, a verdict, a probe), and may itself use this cluster. Raises NotConvergedError
        after ``timeout_s`` virtual seconds.
        """
        deadline_ns = self.loop.now_ns + round(timeout_s * 1e9)
        while not (value := condition()):
            left_s = (deadline_ns - self.loop.now_ns) / 1e9
            if left_s <= 0 or not self.run(self._movement(left_s)):
                raise self._not_converged(condition, timeout_s, what)
        return value

    async def _movement(self, timeout_s: float) -> bool:
        """Wait until something happens; whether it did in time."""
        self._moved.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()
                await self.env.clock.sleep(_SETTLE_S)
        except TimeoutError:
            return False
        return True

    def _not_converged(
        self, condition: Callable[[], Any], timeout_s: float, what: str
    ) -> NotConvergedError:
        named = what or getattr(condition, "__doc__", None) or "the condition"
        return NotConvergedError(
            f"{named} did not hold within {timeout_s:g} virtual seconds\n{self.summary()}"
        )

    async def _until(self, condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """``until`` for conditions that only look at caches: asked inside the loop, at once."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (value := condition()):
                    self._moved.clear()
                    await self._moved.wait()
                return value
        except TimeoutError:
            raise self._not_converged(condition, timeout_s, what) from None

    def until_quiet(self, quiet_s: float = QUIET_S) -> None:
        """Let the node agents catch up: until nothing moved for ``quiet_s`` (leases apart)."""
        while (gap_s := (self.loop.now_ns - self._last_move_ns) / 1e9) < quiet_s:
            self.sleep(quiet_s - gap_s)

    # -- objects

    def objects(self, kind: Kind[V], namespace: str = "", label_selector: str = "") -> list[V]:
        """Frozen views of a kind."""
        listed = self.run(self.cluster.client.list(kind, namespace, label_selector=label_selector))
        return listed.items

    def get(self, kind: Kind[Any], name: str, namespace: str = "default") -> Any:
        """One object's view, None when it does not exist."""
        try:
            return self.run(self.cluster.client.get(kind, name, _space(kind, namespace)))
        except ApiError as error:
            if error.reason == "NotFound":
                return None
            raise

    def delete(
        self, kind: Kind[Any], name: str, namespace: str = "default", grace_s: int | None = None
    ) -> None:
        """Delete an object."""
        client = self.cluster.client
        self.run(client.delete(kind, name, _space(kind, namespace), grace_period_seconds=grace_s))

    def apply(self, *manifests: str | Path | JSON) -> None:
        """Create or update objects: YAML text, paths of files or folders, or plain objects.

        As with kubectl apply, an unknown field is an error (ApiError BadRequest): a misspelt
        policy would otherwise pass its test.
        """
        for body in _objects(manifests):
            self.run(self._apply(body))

    async def _apply(self, body: JSON) -> None:
        kind = kinds.by_gvk(body.get("apiVersion", ""), body["kind"])
        if kind is None:
            named = f"{body.get('apiVersion')}/{body['kind']}"
            raise ApiError("NotFound", f"{named} is not modelled: docs/kinds.md lists what is")
        meta = body.get("metadata", {})
        namespace = meta.get("namespace", "default") if kind.namespaced else ""
        if kind is kinds.POD:
            await self._account(namespace)
        send = self.cluster.client.send
        try:
            await send("POST", kind.path(namespace), _STRICT, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await send("PATCH", kind.path(namespace, meta["name"]), _STRICT, body, STRATEGIC)

    async def _account(self, namespace: str) -> None:
        """Admission refuses pods until the namespace has its default ServiceAccount."""
        cache = self.cluster.server.caches.of(kinds.SERVICE_ACCOUNT)
        await self._until(
            lambda: cache.get(namespace, "default") is not None, 30.0,
            f"the default ServiceAccount of {namespace}",
        )  # fmt: skip

    # -- faults

    def stop_kubelet(self, node: str) -> None:
        """The kubelet of a node dies; the node's kernel goes on."""
        self.run(self.cluster.machines.stop_kubelet(node))

    def start_kubelet(self, node: str) -> None:
        """It comes back. Raises ConnectionError when the node has no power."""
        self.run(self.cluster.machines.start_kubelet(node))

    def power_off(self, node: str, *, graceful: bool = False) -> None:
        """Pull a node's plug: kernel, kubelet and programs are gone, the disk stays.

        ``graceful``: its kubelet ends its pods before.
        """
        self.run(self.cluster.machines.power_off(node, graceful=graceful))

    def power_on(self, node: str) -> None:
        """It boots, with a new boot id; its kubelet starts."""
        self.run(self.cluster.machines.power_on(node))

    # -- conditions

    def pods(self, namespace: str = "") -> list[Pod]:
        """All pods, or those of a namespace, from the server's own cache."""
        cache = self.cluster.server.caches.of(kinds.POD)
        return [entry.view for entry in cache.entries(namespace)]

    def system_ready(self) -> bool:
        """Every node is Ready, every pod of kube-system is, and the Ingress controller."""
        caches = self.cluster.server.caches
        if self._obstacle is not None:
            kind, namespace, name = self._obstacle
            entry = caches.of(kind).get(namespace, name)
            if entry is not None and not entry.view.ready:
                return False
        nodes = [entry.view for entry in caches.of(kinds.NODE).entries()]
        system, doors = self.pods("kube-system"), self.pods(INGRESS_NAMESPACE)
        found = obstacle(nodes, system)
        self._obstacle = None
        if found is not None:
            kind = kinds.NODE if isinstance(found, Node) else kinds.POD
            self._obstacle = (kind, found.metadata.namespace, found.metadata.name)
        return found is None and is_up(self.cluster.settings, nodes, system, doors)

    def all_ready(self) -> bool:
        """Every workload has the pods it wants and every pod that should be is Ready."""
        caches = self.cluster.server.caches
        for kind in (kinds.DEPLOYMENT, kinds.STATEFUL_SET):
            for entry in caches.of(kind).entries():
                view = entry.view
                current = view.status.observed_generation >= view.metadata.generation
                if not current or view.status.ready_replicas < view.spec.replicas:
                    return False
        for entry in caches.of(kinds.DAEMON_SET).entries():
            status = entry.view.status
            if status.observed_generation < entry.view.metadata.generation:
                return False
            if status.number_ready < status.desired_number_scheduled:
                return False
        done = ("Succeeded", "Failed")
        return all(pod.ready or pod.status.phase in done for pod in self.pods())

    def boot(self) -> None:
        """Wait for nodes and kube-system."""
        self.run(self._until(self.system_ready, BOOT_TIMEOUT_S, "nodes and kube-system Ready"))

    def converge(self, timeout_s: float = CONVERGE_TIMEOUT_S) -> bool:
        """Wait until all is Ready (or will not be), then for the agents; whether all is Ready."""
        try:
            self.run(self._until(self.all_ready, timeout_s, "all workloads Ready"))
            ready = True
        except NotConvergedError:
            ready = False
        self.until_quiet()
        return ready

    def summary(self) -> str:
        """Pods and nodes as a small table, for messages."""
        caches = self.cluster.server.caches
        lines = [
            f"  node {e.view.metadata.name}: {'Ready' if e.view.ready else 'NotReady'}"
            for e in caches.of(kinds.NODE).entries()
        ]
        for pod in sorted(self.pods(), key=lambda p: p.key):
            waiting = [
                str(about.get("reason", state))
                for status in pod.status.container_statuses
                for state, about in status.state.items()
                if state != "running"
            ]
            shown = ", ".join(waiting) or pod.status.phase
            lines.append(f"  pod {pod.key}: {'Ready' if pod.ready else shown}")
        return "\n".join(lines)

    # -- questions

    def trace(self, source: str, destination: str, **options: Any) -> Report:
        """Walk a packet; options as in explain.report.TraceSpec."""
        spec = TraceSpec(source=source, destination=destination, **options)
        return self.run(self.cluster.tracer.trace(spec))

    def exec(
        self,
        pod: str,
        *argv: str,
        namespace: str = "default",
        container: str = "",
        timeout_s: float = 120.0,
    ) -> ExecResult:
        """Run a command in a pod (``NAME`` or ``deploy/NAME``) to its end."""
        return self.run(self._exec(pod, argv, namespace, container, timeout_s))

    async def _exec(
        self, pod: str, argv: Sequence[str], namespace: str, container: str, timeout_s: float
    ) -> ExecResult:
        name = await self._pod_name(pod, namespace)
        view = await self.cluster.client.get(kinds.POD, name, namespace)
        async with asyncio.timeout(timeout_s):
            session = await self.cluster.streams.exec(
                view.spec.node_name, namespace, name, container, argv, False
            )
            out: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
            async for channel, data in session.output():
                out[channel] += data
            code = await session.wait()
        return ExecResult(out[1].decode(errors="replace"), out[2].decode(errors="replace"), code)

    async def _pod_name(self, named: str, namespace: str) -> str:
        kind, slash, name = named.partition("/")
        if not slash:
            return named
        if kind in {"pod", "po"}:
            return name
        pods = sorted(self.pods(namespace), key=lambda p: (not p.ready, p.metadata.name))
        for pod in pods:
            owner = pod.metadata.controller()
            if owner is not None and owner.name.startswith(name):
                template = pod.metadata.labels.get("pod-template-hash", "")
                if owner.name in {name, f"{name}-{template}"}:
                    return str(pod.metadata.name)
        raise ApiError("NotFound", f"no pod of {named} in namespace {namespace}")


def _space(kind: Kind[Any], namespace: str) -> str:
    return namespace if kind.namespaced else ""


def _objects(manifests: Iterable[str | Path | JSON]) -> list[JSON]:
    found: list[JSON] = []
    for manifest in manifests:
        if isinstance(manifest, Path):
            found += load([manifest])
        elif isinstance(manifest, str):
            found += parse(manifest)
        else:
            found.append(manifest)
    return found


def trace_manifests(
    manifests: list[JSON],
    spec: TraceSpec,
    settings: ClusterSettings,
    seed: int,
    at_s: float | None = None,
) -> Report:
    """Boot, apply, converge, trace: ``podwire trace -f``. Raises ApiError, NotConvergedError.

    ``at_s``: trace so long after applying, whether anything has converged by then or not.
    Manifests that hold an Ingress get a cluster with an Ingress controller.
    """
    if any(body.get("kind") == "Ingress" for body in manifests):
        settings = replace(settings, ingress="nginx")
    with VirtualCluster(settings, seed) as cluster:
        cluster.boot()
        cluster.apply(*manifests)
        if at_s is None:
            cluster.converge()
        else:
            cluster.sleep(at_s)
        return cluster.run(cluster.cluster.tracer.trace(spec))
