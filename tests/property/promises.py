"""What controllers promise about rollouts, checked at every write of the store.

Where they act on what they saw a moment ago, the promise is held against every state of that
moment: what was wanted, and what others (users, crashes, lost nodes) took meanwhile.
"""

import traceback

from podwire.api import kinds
from podwire.api.times import NS
from podwire.client.placement import target_node
from podwire.controllers.common import pod_active, pod_available, scaled
from podwire.controllers.deployment import sizes
from podwire.controllers.statefulset.identity import ordinal
from tests.property.turmoil import PORT

LAG_NS = 2_000_000_000
"""How old may be what a controller acts on."""
REFUSING_NS = 3_000_000_000
"""How long an endpoint may stay ready that nobody serves: until kubelet notices and writes, and the
EndpointSlice follows."""
LOST_NS = 65_000_000_000
"""The same on a node that fell silent: --node-monitor-grace-period, and the pass after it."""
LEASES = "/registry/leases/kube-node-lease/"
HASH = "controller-revision-hash"
FOLLOWED = (
    kinds.POD, kinds.REPLICA_SET, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.DAEMON_SET,
    kinds.POD_DISRUPTION_BUDGET,
)  # fmt: skip


class Promises:
    """Follows one cluster's store; ``broken`` is what was not kept."""

    def __init__(self, world):
        self.world = world
        self.cluster = world.cluster
        self.caches = self.cluster.cluster.server.caches
        self.broken = []
        self.excused = {}
        """Pods (uid) that somebody else deletes."""
        self.losses = []
        """(time, app) of each available pod that was lost to others."""
        self.fewer = []
        """(time, pod) of each available pod that is no more, whoever did it."""
        self.granted = {}
        """Pods (uid) whose eviction was granted."""
        self.budgets = {}
        """App -> [(time, status.desiredHealthy)] of its budget."""
        self.wanted = {}
        """App -> [(time, view)] of its workload."""
        self.sizes = {}
        """ReplicaSet (uid) -> [(time, replicas)]."""
        self.refusing = {}
        """Ready endpoints (pod uid, what it is not), and since when."""
        self.lost = {}
        """Nodes that are lost, and since when."""
        self._folders = {f"/registry/{kind.plural}/default/": kind for kind in FOLLOWED}
        self._serves = (
            "/registry/pods/default/", "/registry/endpointslices/default/", LEASES,
        )  # fmt: skip
        """What is written when who serves changes, and as time passes."""
        store = self.cluster.cluster.store
        revision = self.cluster.run(store.range("/registry/namespaces/")).revision
        self._watch = self.cluster.run(store.watch("/registry/", revision + 1, self._written))

    def stop(self):
        """What is written from now on is nobody's promise."""
        self._watch.cancel()

    @property
    def now_ns(self):
        return self.cluster.env.clock.now_ns()

    def excuse(self, pod):
        """Whatever becomes of this pod is not its controller's doing."""
        self.excused[pod.metadata.uid] = None

    def _break(self, text):
        self.broken.append(f"t+{self.cluster.now_s:.3f} {text}")

    # ------------------------------------------------------------ events

    def _written(self, events):
        try:
            self._check(events)
        except Exception:  # noqa: BLE001  else the API server would take it for its own
            self._break(traceback.format_exc())

    def _check(self, events):
        self._look_at_nodes()
        served = False
        for event in events:
            folder = event.key[: event.key.rfind("/") + 1]
            served |= folder in self._serves
            kind = self._folders.get(folder)
            if kind is None:
                continue
            cache = self.caches.of(kind)
            new = cache.entry(event.kv).view if event.kv else None
            old = cache.entry(event.previous).view if event.previous else None
            if kind is kinds.POD:
                self._pod(old, new)
            elif kind is kinds.REPLICA_SET:
                self._replica_set(old, new)
            elif kind is kinds.POD_DISRUPTION_BUDGET:
                if new is not None:
                    self._note(self.budgets, new.metadata.name, new.status.desired_healthy)
            elif new is not None:
                self._note(self.wanted, new.metadata.name, new)
        if served:
            self._serving()

    def _note(self, known, key, what):
        known.setdefault(key, []).append((self.now_ns, what))

    def _lately(self, known, key):
        """What was so within the lag, oldest first; the last that was before it counts too."""
        found = known.get(key, [])
        while len(found) > 1 and found[1][0] < self.now_ns - LAG_NS:
            del found[0]
        return [what for _, what in found]

    def _pods(self, app):
        found = [e.view for e in self.caches.of(kinds.POD).entries("default")]
        return [p for p in found if p.metadata.labels.get("app") == app]

    def _lost_lately(self, app):
        since_ns = self.now_ns - LAG_NS
        return sum(at_ns >= since_ns and whose == app for at_ns, whose in self.losses)

    def _available(self, pod, min_ready_s):
        return (
            pod is not None
            and not pod.metadata.deletion_timestamp
            and pod.status.phase == "Running"
            and pod_available(pod, min_ready_s, self.now_ns)
        )

    def _pod(self, old, new):
        app = (new or old).metadata.labels.get("app", "")
        views = self._lately(self.wanted, app)
        if not views:
            return
        if old is None:
            self._created(app, views, new)
            return
        min_ready_s = max(view.spec.min_ready_seconds for view in views)
        was, is_now = self._available(old, 0), self._available(new, 0)
        marked = new is not None and new.metadata.deletion_timestamp
        if not was or is_now:
            return
        self.fewer.append((self.now_ns, old))
        if not marked or self._by_others(new):
            self.losses.append((self.now_ns, app))
        elif self._available(old, min_ready_s):
            self._deleted(app, views, old)

    def _by_others(self, pod):
        node = self.caches.of(kinds.NODE).get("", pod.spec.node_name)
        evicting = node is None or any(t.effect == "NoExecute" for t in node.view.spec.taints)
        marked = pod.condition("DisruptionTarget") is not None
        return pod.metadata.uid in self.excused or evicting or marked

    # ------------------------------------------------------------ Deployments

    def _replica_set(self, old, new):
        if new is None:
            return
        self._note(self.sizes, new.metadata.uid, new.spec.replicas)
        if new.spec.replicas <= (old.spec.replicas if old is not None else 0):
            return
        sets = [e.view for e in self.caches.of(kinds.REPLICA_SET).entries("default")]
        owner = new.metadata.controller()
        mine = [s for s in sets if (c := s.metadata.controller()) and c.uid == owner.uid]
        views = self._lately(self.wanted, owner.name)
        most = max(view.spec.replicas + sizes.max_surge(view) for view in views)
        total = sizes.total(mine)
        if total > most:
            self._break(f"{owner.name}: ReplicaSets want {total} pods, at most {most}")

    def _created(self, app, views, pod):
        owner = pod.metadata.controller()
        if owner.kind == "ReplicaSet":
            same = [p for p in self._pods(app) if (c := p.metadata.controller()) is not None
                    and c.uid == owner.uid and pod_active(p)]  # fmt: skip
            most = max(self._lately(self.sizes, owner.uid))
            if len(same) > most:
                self._break(f"{owner.name} made pod {len(same)} of {most}")
            others = [
                p.metadata.name for p in self._pods(app) if p.metadata.controller().uid != owner.uid
                and p.status.phase not in {"Failed", "Succeeded"}
            ]  # fmt: skip
            if others and all(view.spec.strategy.type == "Recreate" for view in views):
                self._break(f"{pod.metadata.name} was made beside {others} of a Recreate")
        elif owner.kind == "StatefulSet":
            self._ordered(app, views, pod)
        else:
            self._on_node(app, views, pod)

    def _deleted(self, app, views, pod):
        """Its controller deletes an available pod."""
        kind = pod.metadata.controller().kind
        if kind == "ReplicaSet":
            self._shrunk(app, views, pod)
        elif kind == "StatefulSet":
            self._retired(app, views, pod)
        else:
            self._replaced(app, views, pod)

    def _shrunk(self, app, views, pod):
        rolling = all(view.spec.strategy.type == "RollingUpdate" for view in views)
        if not rolling or len({view.spec.replicas for view in views}) > 1:
            return  # scaling is proportional, whoever is Ready
        # A ReplicaSet does not know who is available, only who is Ready.
        left = sum(self._available(p, 0) for p in self._pods(app))
        fewest = min(view.spec.replicas - sizes.max_unavailable(view) for view in views)
        if left + self._lost_lately(app) < fewest:
            self._break(f"{pod.metadata.name} deleted: {left} of {app} are left, least {fewest}")

    # ------------------------------------------------------------ StatefulSets

    def _range(self, view):
        first = (view.spec.ordinals or {}).get("start", 0)
        return range(first, first + view.spec.replicas)

    def _ordered(self, app, views, pod):
        number = ordinal(app, pod)
        if not any(number in self._range(view) for view in views):
            self._break(f"{pod.metadata.name} is not wanted")
        rolling = [(v.spec.update_strategy.get("rollingUpdate") or {}) for v in views]
        partitions = [
            self._range(v).start + (r.get("partition") or 0)
            for v, r in zip(views, rolling, strict=True)
        ]
        revision = pod.metadata.labels.get(HASH, "")
        types = {v.spec.update_strategy.get("type") for v in views}
        known = {v.status.current_revision for v in views}
        if number < min(partitions) and types == {"RollingUpdate"} and revision not in known:
            self._break(f"{pod.metadata.name} has {revision}, below the partition {known}")
        if any(view.spec.pod_management_policy == "Parallel" for view in views):
            return
        before = {ordinal(app, p): p for p in self._pods(app)}
        missing = [
            n for n in range(max(self._range(view).start for view in views), number)
            if not self._available(before.get(n), min(v.spec.min_ready_seconds for v in views))
        ]  # fmt: skip
        if len(missing) > self._lost_lately(app):
            self._break(f"{pod.metadata.name} was made before {missing}")

    def _retired(self, app, views, pod):
        number = ordinal(app, pod)
        pods = {ordinal(app, p): p for p in self._pods(app)}
        if not all(number in self._range(view) for view in views):
            above = [n for n in pods if n > number and n not in self._range(views[-1])]
            ordered = all(v.spec.pod_management_policy != "Parallel" for v in views)
            if ordered and above:
                self._break(f"{pod.metadata.name} scaled away before {above}")
            return
        if any(v.spec.update_strategy.get("type") == "OnDelete" for v in views):
            if all(v.spec.update_strategy.get("type") == "OnDelete" for v in views):
                self._break(f"{pod.metadata.name} was replaced in spite of OnDelete")
            return
        down = sum(not self._available(pods.get(n), 0) for n in self._range(views[-1]))
        most = max(
            max(1, scaled(r.get("maxUnavailable") or 1, v.spec.replicas, round_up=True))
            for v in views
            for r in [v.spec.update_strategy.get("rollingUpdate") or {}]
        )
        if len({v.spec.replicas for v in views}) == 1 and down - self._lost_lately(app) > most:
            self._break(f"{pod.metadata.name} replaced: {down} of {app} are down, at most {most}")

    def twins(self):
        """No identity runs twice, whatever the objects say."""
        seen = {}
        for node, kubelet in self.cluster.cluster.streams._kubelets.items():
            for worker in kubelet.workers.values():
                owner = worker.pod.metadata.controller()
                if owner is None or owner.kind != "StatefulSet" or not worker.instances:
                    continue
                other = seen.setdefault(worker.pod.key, node)
                if other != node:
                    self._break(f"{worker.pod.key} runs on {other} and {node}")

    # ------------------------------------------------------------ DaemonSets

    @staticmethod
    def _limits(view, wanted):
        rolling = view.spec.update_strategy.get("rollingUpdate") or {}
        surge = scaled(rolling.get("maxSurge") or 0, wanted, round_up=True)
        down = scaled(rolling.get("maxUnavailable", 1), wanted, round_up=True)
        return surge, down

    def _by_node(self, app):
        found = {}
        for pod in self._pods(app):
            found.setdefault(target_node(pod.spec), []).append(pod)
        return found

    def _on_node(self, app, views, pod):
        nodes = self._by_node(app)
        beside = next(pods for pods in nodes.values() if pod in pods)
        wanted = len(self.caches.of(kinds.NODE).entries())
        surge = max(self._limits(view, wanted)[0] for view in views)
        there = [p for p in beside if p.status.phase not in {"Failed", "Succeeded"}]
        alive = [p for p in there if not p.metadata.deletion_timestamp]
        if not surge and len(there) > 1:
            self._break(f"{[p.metadata.name for p in there]} share a node without a surge")
        if len({p.metadata.labels.get(HASH) for p in alive}) != len(alive):
            self._break(f"{[p.metadata.name for p in alive]} of one revision share a node")
        # Who is not available (yet) is replaced at no cost.
        long_s = max(view.spec.min_ready_seconds for view in views) + LAG_NS // NS
        doubled = sum(
            any(self._available(p, long_s) for p in pods) and
            len([p for p in pods if not p.metadata.deletion_timestamp]) > 1
            for pods in nodes.values()
        )  # fmt: skip
        if surge and doubled > surge + self._lost_lately(app):
            self._break(f"{app} surges on {doubled} nodes, at most {surge}")

    def _replaced(self, app, views, pod):
        if all(v.spec.update_strategy.get("type") == "OnDelete" for v in views):
            self._break(f"{pod.metadata.name} was replaced in spite of OnDelete")
            return
        nodes = self._by_node(app)
        if any(self._available(p, 0) for p in nodes.get(pod.spec.node_name, ())):
            return  # its successor serves
        names = [e.view.metadata.name for e in self.caches.of(kinds.NODE).entries()]
        down = sum(not any(self._available(p, 0) for p in nodes.get(name, ())) for name in names)
        most = max(max(self._limits(view, len(names))) for view in views)
        if any(not self._limits(view, len(names))[1] for view in views):
            most = max(self._limits(view, len(names))[1] for view in views)
        if down - self._lost_lately(app) - len(self.lost) > most:
            self._break(f"{pod.metadata.name} replaced: {down} nodes lack {app}, at most {most}")

    # ------------------------------------------------------------ budgets and endpoints

    def evicted(self, pod):
        """An eviction was granted: the budget holds afterwards. What the disruption controller has
        not seen yet is excused; other evictions are not, each was taken from what it allowed.
        """
        app = pod.metadata.labels["app"]
        self.granted[pod.metadata.uid] = None
        wanted = self._lately(self.budgets, app)
        if not wanted or not pod.ready or pod.metadata.deletion_timestamp:
            return
        healthy = sum(p.ready and not p.metadata.deletion_timestamp for p in self._pods(app))
        since_ns = self.now_ns - LAG_NS
        unseen = sum(
            at_ns >= since_ns and p.metadata.labels.get("app") == app
            and p.metadata.uid not in self.granted
            for at_ns, p in self.fewer
        )  # fmt: skip
        if healthy + unseen < min(wanted):
            self._break(f"{pod.metadata.name} was evicted: {healthy} healthy, wanted {wanted}")

    def _look_at_nodes(self):
        kubelets = self.cluster.cluster.streams._kubelets
        for node in self.cluster.cluster.settings.node_names:
            if node in kubelets:
                if self.lost.pop(node, None) is not None:
                    self.refusing.clear()  # it has to look around first
            else:
                self.lost.setdefault(node, self.now_ns)

    def _serving(self):
        """Every ready endpoint is a pod that is Ready and listened on, soon."""
        self.twins()
        pods, refused = self.caches.of(kinds.POD), {}
        for entry in self.caches.of(kinds.ENDPOINT_SLICE).entries("default"):
            for endpoint in entry.view.endpoints:
                target = endpoint.target_ref
                if not endpoint.conditions.ready or target is None:
                    continue
                pod = pods.get("default", target.name)
                if pod is None or pod.view.metadata.uid != target.uid or not pod.view.ready:
                    refused[target.uid, "Ready"] = (target.name, "")
                if not self._listens(endpoint.node_name, target.uid):
                    refused[target.uid, "served"] = (target.name, endpoint.node_name)
        for key in [key for key in self.refusing if key not in refused]:
            del self.refusing[key]
        for key, (name, node) in refused.items():
            since_ns = self.refusing.setdefault(key, self.now_ns)
            patience_ns = LOST_NS if node in self.lost else REFUSING_NS
            if self.now_ns - since_ns > patience_ns:
                self._break(f"{name} is a ready endpoint that is not {key[1]} (node: {node})")
                self.refusing[key] = self.now_ns + 10**15

    def _listens(self, node, uid):
        kubelet = self.cluster.cluster.streams._kubelets.get(node)
        worker = kubelet.workers.get(uid) if kubelet is not None else None
        if worker is None or worker.sandbox is None:
            return False
        space = self.cluster.cluster.fabric.sockets.space(node, worker.sandbox.netns)
        return space is not None and any(port == PORT for _, port in space.listeners)
