"""Random rollouts on a small cluster, each write of which is held against what controllers promise.

A user changes images, scales, pauses, undoes, drains and loses nodes while pods start slowly, crash
or never turn Ready. ``Rollouts.wrong`` tells what was broken.
"""

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.runtime.rng import SeededRng
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.property.promises import LAG_NS, Promises
from tests.property.turmoil import AGNHOST, CLIENT, CLIENT_POD, PORT, front

SETTLE_S = 600.0
GONE_S = 120.0
KINDS = {"web": kinds.DEPLOYMENT, "db": kinds.STATEFUL_SET, "agent": kinds.DAEMON_SET}
LOST_FOR_S = 20
"""How long pods tolerate a lost node."""


def template(app, version, flavour, rng):
    """A pod template. ``flavour``: slow ones are Ready late, broken ones never."""
    probe = {"tcpSocket": {"port": 1 if flavour == "broken" else PORT}}
    probe |= {"periodSeconds": rng.choice([1, 3, 5]), "failureThreshold": rng.choice([1, 3])}
    if flavour == "slow":
        probe["initialDelaySeconds"] = rng.choice([2, 5])
    server = {
        "name": "app",
        "image": AGNHOST,
        "args": ["netexec", f"--http-port={PORT}"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": probe,
    }
    if rng.below(3) == 0:
        server["lifecycle"] = {"preStop": {"sleep": {"seconds": 1}}}
    keys = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
    stay = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_FOR_S}
        for key in keys
    ]
    spec = {"containers": [server], "terminationGracePeriodSeconds": 3, "tolerations": stay}
    meta = {"labels": {"app": app}, "annotations": {"version": str(version), "is": flavour}}
    return {"metadata": meta, "spec": spec}


def amount(rng, most=3):
    """An int-or-percent."""
    return rng.choice([rng.below(most + 1), f"{rng.choice([10, 25, 34, 50, 100])}%"])


def strategy(kind, rng):
    """A strategy that the API takes."""
    if kind is kinds.DEPLOYMENT:
        if rng.below(4) == 0:
            return {"strategy": {"type": "Recreate", "rollingUpdate": None}}
        surge, down = amount(rng), amount(rng)
        if surge == 0 and down == 0:
            surge = 1
        rolling = {"maxSurge": surge, "maxUnavailable": down}
        return {"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
    if kind is kinds.STATEFUL_SET:
        rolling = {"partition": rng.choice([0, 0, 1, 2])}
        if rng.below(3) == 0:
            rolling["maxUnavailable"] = rng.choice([1, 2, "50%"])
    elif rng.below(2):
        rolling = {"maxSurge": rng.choice([1, 2, "50%"]), "maxUnavailable": 0}
    else:
        rolling = {"maxSurge": 0, "maxUnavailable": rng.choice([1, 2, "34%"])}
    if rng.below(6) == 0:
        return {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}


def booted(seed):
    """A cluster that rollouts can follow each other on."""
    profile = SeededRng(seed, f"{seed}/cluster").choice(["fast", "typical"])
    cluster = VirtualCluster(ClusterSettings(time_profile=profile), seed)
    try:
        cluster.apply(CLIENT_POD)
        cluster.boot()
    except BaseException:
        cluster.close()
        raise
    return cluster


class Rollouts:
    """A Deployment ``web``, a StatefulSet ``db`` and a DaemonSet ``agent`` on one cluster."""

    def __init__(self, cluster, seed):
        self.rng = SeededRng(seed, f"{seed}/rollouts")
        self.cluster = cluster
        self.told = [f"seed {seed}"]
        self.down = {}
        self.versions = dict.fromkeys(KINDS, 0)
        self.before = {}
        """Templates that each workload had, oldest first."""
        self.promises = Promises(self)
        self._create()

    @property
    def wrong(self):
        """What was broken so far."""
        return self.promises.broken

    def _create(self):
        rng = self.rng
        for app, kind in KINDS.items():
            made = self._template(app, "good")
            spec = {"selector": {"matchLabels": {"app": app}}, "template": made}
            spec |= strategy(kind, rng) | {"minReadySeconds": rng.choice([0, 0, 2])}
            if kind is not kinds.DAEMON_SET:
                spec["replicas"] = rng.choice([1, 2, 3, 4, 5])
            if kind is kinds.STATEFUL_SET:
                spec["serviceName"] = app
                spec["podManagementPolicy"] = rng.choice(["OrderedReady", "Parallel"])
                spec["ordinals"] = {"start": rng.choice([0, 0, 3])}
            if kind is kinds.DEPLOYMENT:
                spec["revisionHistoryLimit"] = rng.choice([0, 1, 10])
                spec["progressDeadlineSeconds"] = 30
            meta = {"name": app}
            self.cluster.apply(
                front(app, app, **({"clusterIP": "None"} if app == "db" else {})),
                {"apiVersion": "apps/v1", "kind": kind.kind, "metadata": meta, "spec": spec},
            )
            shown = {k: v for k, v in spec.items() if k not in {"template", "selector"}}
            self.told.append(f"{app}: {shown}")
        self.budget = rng.below(3) > 0
        if self.budget:
            budget = rng.choice([
                {"maxUnavailable": rng.choice([0, 1, "25%"])},
                {"minAvailable": rng.choice([1, 2, "50%", "100%"])},
            ])  # fmt: skip
            budget["selector"] = {"matchLabels": {"app": "web"}}
            self.cluster.apply({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "web"}, "spec": budget,
            })  # fmt: skip
            self.told.append(f"budget: {budget}")
        self.cluster.converge()

    def _template(self, app, flavour):
        self.versions[app] += 1
        made = template(app, self.versions[app], flavour, self.rng)
        self.before.setdefault(app, []).append(made)
        return made

    # ------------------------------------------------------------ what a user does

    def step(self):
        """One act, and some time."""
        act = self.rng.choice(ACTS)
        try:
            done = act(self)
        except ApiError as error:
            if error.code not in {404, 409, 422, 429}:
                raise
            done = f"refused: {error.message}"
        if done:
            self.told.append(f"t+{self.cluster.now_s:.3f} {act.__name__}: {done}")
            self.cluster.sleep(self.rng.choice([0.0, 0.02, 0.5, 1.5, 4.0, 9.0]))

    def app(self):
        """Any of the three; Deployments have most to do."""
        return self.rng.choice(["web", *KINDS])

    def patch(self, app, spec):
        """Merge into the spec of a workload."""
        client = self.cluster.cluster.client
        self.cluster.run(client.patch(KINDS[app], app, {"spec": spec}, "default"))

    def set_image(self):
        app = self.app()
        flavour = self.rng.choice(["good", "good", "slow", "broken"])
        self.patch(app, {"template": self._template(app, flavour)})
        return f"{app} {flavour} {self.versions[app]}"

    def undo(self):
        app = self.app()
        if len(self.before[app]) < 2:
            return ""
        made = self.rng.choice(self.before[app][:-1])
        self.before[app].append(made)
        self.patch(app, {"template": made})
        return f"{app} to {made['metadata']['annotations']}"

    def scale(self):
        app = self.rng.choice(["web", "db"])
        replicas = self.rng.choice([0, 1, 2, 3, 5, 6])
        self.patch(app, {"replicas": replicas})
        return f"{app} {replicas}"

    def pause(self):
        paused = bool(self.rng.below(2))
        self.patch("web", {"paused": paused})
        return f"{paused}"

    def change_strategy(self):
        app = self.app()
        wanted = strategy(KINDS[app], self.rng)
        self.patch(app, wanted)
        return f"{app} {wanted}"

    def _pods(self):
        found = self.cluster.pods("default")
        return sorted((p for p in found if p.metadata.name != CLIENT), key=lambda p: p.key)

    def delete_pod(self):
        pods = self._pods()
        if not pods:
            return ""
        pod = self.rng.choice(pods)
        self.promises.excuse(pod)
        self.cluster.delete(kinds.POD, pod.metadata.name)
        return pod.metadata.name

    def crash(self):
        """The program ends by itself; it is started again."""
        pods = [pod for pod in self._pods() if pod.ready]
        if not pods:
            return ""
        pod = self.rng.choice(pods)
        url = f"http://{pod.status.pod_ip}:{PORT}/exit?code=1"
        try:
            self.cluster.exec(CLIENT, "curl", "-s", "-m", "1", url)
        except (ApiError, ConnectionError, TimeoutError):
            return ""  # the client's own node is lost
        return pod.metadata.name

    def drain(self):
        node = self._node()
        self._cordon(node, True)
        evicted = []
        for pod in self._pods():
            owner = pod.metadata.controller()
            if pod.spec.node_name == node and owner is not None and owner.kind != "DaemonSet":
                self.promises.excuse(pod)
                evicted.append(f"{pod.metadata.name} {self._evict(pod)}")
        return f"{node}: {evicted}"

    def _evict(self, pod):
        name = pod.metadata.name
        body = {"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": name, "namespace": "default"}}  # fmt: skip
        path = f"/api/v1/namespaces/default/pods/{name}/eviction"
        entry = self.cluster.cluster.server.caches.of(kinds.POD).get("default", name)
        if entry is not None and entry.view.metadata.deletion_timestamp:
            pod = entry.view  # meanwhile it ends already: no budget keeps it
        try:
            self.cluster.run(self.cluster.cluster.client.send("POST", path, (), body))
        except ApiError as error:
            return error.code
        self.promises.evicted(pod)
        return 201

    def _node(self):
        return self.rng.choice(self.cluster.cluster.settings.node_names)

    def uncordon(self):
        node = self._node()
        self._cordon(node, False)
        return node

    def _cordon(self, node, wanted):
        patch = {"spec": {"unschedulable": wanted or None}}
        self.cluster.run(self.cluster.cluster.client.patch(kinds.NODE, node, patch))

    def lose_node(self):
        """For a while, or until its pods are evicted."""
        if self.down or self.rng.below(3):
            return ""
        node = self._node()
        if self.rng.below(2):
            self.down[node] = self.cluster.power_on
            self.cluster.power_off(node)
        else:
            self.down[node] = self.cluster.start_kubelet
            self.cluster.stop_kubelet(node)
        self.cluster.sleep(self.rng.choice([5.0, 65.0, 90.0]))
        return node

    def find_node(self):
        for node in list(self.down):
            self.down.pop(node)(node)
            return node
        return ""

    # ------------------------------------------------------------ the end

    def settle(self):
        """Mend what the user broke; whether every rollout ends."""
        for node in list(self.down):
            self.down.pop(node)(node)
        for node in self.cluster.cluster.settings.node_names:
            self._cordon(node, False)
        self.patch("web", {"paused": False})
        for app, told in self.before.items():
            if told[-1]["metadata"]["annotations"]["is"] == "broken":
                self.patch(app, {"template": self._template(app, "good")})
        self._replace_by_hand()
        self.told.append(f"t+{self.cluster.now_s:.3f} settle")
        self.cluster.until(self._all_rolled_out, SETTLE_S, "rollout status of all three")
        self.cluster.until_quiet()

    def _replace_by_hand(self):
        """Broken pods below a partition, under OnDelete, or of an ordered StatefulSet that waits
        for them, are the user's to delete (documentation, "Forced rollback").
        """
        self.cluster.sleep(LAG_NS / 1e9)  # some are being made
        broken = [p for p in self._pods() if p.metadata.annotations.get("is") == "broken"]
        rolling = self.cluster.get(kinds.STATEFUL_SET, "db").spec.update_strategy
        if rolling.get("type") == "RollingUpdate" and any(
            pod.metadata.labels["app"] == "db" for pod in broken
        ):
            # Below a partition they come again from currentRevision, which is the broken one when
            # the StatefulSet was scaled to nothing meanwhile (completeRollingUpdate).
            self.patch("db", {"updateStrategy": {"rollingUpdate": {"partition": 0}}})
        for pod in broken:
            self.promises.excuse(pod)
            self.cluster.delete(kinds.POD, pod.metadata.name)

    def clear(self):
        """Delete everything, so that other rollouts may follow."""
        self.promises.stop()
        for app, kind in KINDS.items():
            self.cluster.delete(kind, app)
            self.cluster.delete(kinds.SERVICE, app)
        if self.budget:
            self.cluster.delete(kinds.POD_DISRUPTION_BUDGET, "web")
        self.cluster.until(lambda: not self._pods(), GONE_S, "the end of all pods")

    def _all_rolled_out(self):
        for app, kind in KINDS.items():
            view = self.cluster.get(kind, app)
            if not rolled_out(view, kind):
                return False
        return True


def rolled_out(view, kind):
    """What ``kubectl rollout status`` waits for (kubectl/pkg/polymorphichelpers)."""
    spec, status = view.spec, view.status
    if status.observed_generation < view.metadata.generation:
        return False
    if kind is kinds.DEPLOYMENT:
        return (
            status.updated_replicas == spec.replicas == status.replicas
            and status.available_replicas == status.updated_replicas
        )
    on_delete = spec.update_strategy.get("type") == "OnDelete"
    if kind is kinds.DAEMON_SET:
        wanted = status.desired_number_scheduled
        return (
            on_delete or status.updated_number_scheduled == wanted
        ) and status.number_available == wanted
    if status.ready_replicas != spec.replicas or status.replicas != spec.replicas:
        return False
    partition = (spec.update_strategy.get("rollingUpdate") or {}).get("partition") or 0
    if on_delete or partition:
        return on_delete or status.updated_replicas >= spec.replicas - partition
    return status.current_revision == status.update_revision


ACTS = (
    *[Rollouts.set_image] * 7,
    *[Rollouts.undo] * 3,
    *[Rollouts.scale] * 3,
    Rollouts.pause,
    Rollouts.change_strategy,
    *[Rollouts.delete_pod] * 2,
    *[Rollouts.crash] * 2,
    *[Rollouts.drain] * 3,
    *[Rollouts.uncordon] * 2,
    Rollouts.lose_node,
    *[Rollouts.find_node] * 2,
)
