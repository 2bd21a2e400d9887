"""A little cluster for stories: fake API, all controllers, the scheduler, a pretended kubelet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from podwire.api import kinds
from podwire.api.kinds import Kind
from podwire.api.times import format_micro_time, format_time
from podwire.api.view import JSON
from podwire.api.views import Pod
from podwire.client.api import Client
from podwire.client.informer import Informers
from podwire.controllers import shell
from podwire.controllers.config import ControllersConfig
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from podwire.scheduler import shell as scheduler
from tests.unit.client.fake_api import FakeApi, make_ctx

CONFIG = ControllersConfig(root_ca="CA TEXT")


class Cluster:
    """The world of a story. ``start_s`` is how long a bound pod takes to become Ready."""

    def __init__(self, env: Env, nursery: Nursery, **options: Any) -> None:
        self.env = env
        config = options.pop("config", CONFIG)
        self.api = FakeApi(env, **options)
        self.ctx = make_ctx(env, self.api, config)
        self.start_s = 1.0
        self.stop_s = 1.0
        self.broken: Callable[[Pod], bool] = lambda _: False
        self._addresses = 0
        self.silent: dict[str, None] = {}
        """Nodes whose kubelet stopped renewing its Lease."""
        self.unready: dict[str, None] = {}
        self.seen_pods: dict[str, int] = {}
        self.most_pods = 0
        informers = Informers(Client(self.api), self.ctx)
        self.pods = informers.informer(kinds.POD)
        self.pods.on_change(self._kubelet)
        nursery.start(informers.run(), name="story informers")
        nursery.start(shell.run(self.ctx), name="controllers")
        nursery.start(scheduler.run(self.ctx), name="scheduler")

    # ------------------------------------------------------------ the pretended kubelet

    def _kubelet(self, old: Pod | None, new: Pod | None) -> None:
        self.most_pods = max(self.most_pods, len(self.pods.list()))
        if new is None or not new.spec.node_name:
            return
        if new.metadata.deletion_timestamp:
            if old is None or not old.metadata.deletion_timestamp:
                self.env.clock.call_later(self.stop_s, self._stopped, new.key, new.metadata.uid)
        elif not new.status.pod_ip and (old is None or not old.spec.node_name):
            self.env.clock.call_later(self.start_s, self._started, new)
        elif old is not None and old.ready and not new.ready:
            self.env.clock.call_later(1, self._repair, new)

    def _started(self, pod: Pod) -> None:
        body = self.api.objects.get((kinds.POD, pod.key))
        if body is None or body["metadata"]["uid"] != pod.metadata.uid:
            return
        self._addresses += 1
        ready = "False" if self.broken(pod) else "True"
        self.set_ready(pod.key, ready, pod_ip=f"10.244.0.{self._addresses}")

    def set_ready(self, key: str, ready: str, **more: Any) -> None:
        body = self.api.get(kinds.POD, key)
        now = format_time(self.env.clock.now_ns())
        status = {
            **body.get("status", {}),
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
            **({"podIP": more["pod_ip"]} if more else {}),
        }
        self.api.put(kinds.POD, {**body, "status": status})

    def _repair(self, pod: Pod) -> None:
        """A kubelet overwrites what others made of its pod's status."""
        known = (kinds.POD, pod.key) in self.api.objects
        if pod.key not in self.unready and pod.spec.node_name not in self.silent and known:
            self.set_ready(pod.key, "True")

    def fail(self, key: str) -> None:
        """The pod's readiness probe fails from now on."""
        self.unready[key] = None
        self.set_ready(key, "False")

    def _stopped(self, key: str, uid: str) -> None:
        body = self.api.objects.get((kinds.POD, key))
        if body is not None and body["metadata"]["uid"] == uid:
            self.api.remove(kinds.POD, key)

    # ------------------------------------------------------------ for stories

    def node(self, name: str, **more: Any) -> None:
        """A ready node of 4 CPUs."""
        spec = more.pop("spec", {})
        allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110", **more.pop("allocatable", {})}
        now = format_time(self.env.clock.now_ns())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
        self.api.put(kinds.NODE, {
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": {"allocatable": allocatable, "conditions": [ready]},
        })  # fmt: skip
        self._renew(name)

    def _renew(self, name: str) -> None:
        """A kubelet's heartbeat, every 10 seconds."""
        if (kinds.NODE, name) not in self.api.objects:
            return
        if name not in self.silent:
            now = format_micro_time(self.env.clock.now_ns())
            meta = {"name": name, "namespace": "kube-node-lease"}
            spec = {"holderIdentity": name, "renewTime": now}
            self.api.put(kinds.LEASE, {"metadata": meta, "spec": spec})
            self._revive(name)
        self.env.clock.call_later(10, self._renew, name)

    def _revive(self, name: str) -> None:
        """A living kubelet repairs what others wrote about its node and pods meanwhile."""
        node = self.api.get(kinds.NODE, name)
        ready = next(x for x in node["status"]["conditions"] if x["type"] == "Ready")
        if ready["status"] == "True":
            return
        now = format_time(self.env.clock.now_ns())
        times = {"lastTransitionTime": now, "lastHeartbeatTime": now}
        fresh = {"type": "Ready", "status": "True", **times}
        self.api.put(kinds.NODE, {**node, "status": {**node["status"], "conditions": [fresh]}})

    def namespace(self, name: str) -> None:
        spec = {"finalizers": ["kubernetes"]}
        self.api.put(kinds.NAMESPACE, {"metadata": {"name": name}, "spec": spec})

    def change(self, kind: Kind[Any], key: str, **spec: Any) -> None:
        """Change spec fields as a user would (generation goes up)."""
        body = self.api.get(kind, key)
        meta = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        self.api.put(kind, {**body, "metadata": meta, "spec": {**body["spec"], **spec}})

    def names(self, kind: Kind[Any]) -> list[str]:
        return [body["metadata"]["name"] for body in self.api.all(kind)]

    def live_pods(self) -> list[JSON]:
        pods = self.api.all(kinds.POD)
        return [p for p in pods if not p["metadata"].get("deletionTimestamp")]

    def events(self, name: str = "") -> list[str]:
        """``Reason: message`` of the events about an object, in order of creation."""
        found = [e for e in self.api.all(kinds.EVENT) if e["involvedObject"]["name"] == name]
        found.sort(key=lambda e: int(e["metadata"]["uid"] == "") or e["metadata"]["name"])
        return [f"{e['reason']}: {e['message']}" for e in found]


Story = Callable[[Cluster], Coroutine[Any, Any, None]]


def play(story: Story, seed: int = 0, **options: Any) -> Cluster:
    """Run a story in virtual time; the cluster afterwards."""

    async def main(env: Env) -> Cluster:
        async with Nursery() as nursery:
            cluster = Cluster(env, nursery, **options)
            await story(cluster)
            nursery.cancel()
        return cluster

    return sim.run(main, seed, horizon_s=100_000)


def workload(name: str, replicas: int, image: str = "nginx:1", **spec: Any) -> JSON:
    """A Deployment-like body (also fits ReplicaSet, StatefulSet, DaemonSet)."""
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


def template(name: str, image: str) -> JSON:
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
