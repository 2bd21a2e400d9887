"""Random life on a small cluster: operations drawn by a seed, as people and failures cause them."""

import io
from contextlib import redirect_stderr

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import to_json
from podwire.runtime.rng import SeededRng
from podwire.sim.settings import CONTROL_PLANE, ClusterSettings
from podwire.sim.virtual import VirtualCluster

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
APPS = ("red", "green", "blue")
PORT = 8080
CLIENT = "client"
LOST = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
BACKOFF_S = 75.0
"""The longest a reflector waits before it asks the API server again."""


CLIENT_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": CLIENT},
    "spec": {
        "containers": [
            {"name": CLIENT, "image": "nicolaka/netshoot:v0.14", "command": ["sleep", "infinity"]}
        ],
        "terminationGracePeriodSeconds": 0,
    },
}


def container(argument="netexec", probed_every_s=1):
    """An HTTP server that is Ready once it answers."""
    return {
        "name": "app",
        "image": AGNHOST,
        "args": [argument, f"--http-port={PORT}"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/", "port": PORT},
            "periodSeconds": probed_every_s,
        },
    }


def workload(kind, name, replicas, probed_every_s=1, **spec):
    """A Deployment or StatefulSet of servers with label app=NAME."""
    labels = {"app": name}
    pod = {
        "containers": [container(probed_every_s=probed_every_s)],
        "terminationGracePeriodSeconds": 2,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def front(name, app, type="ClusterIP", **spec):
    """A Service on port 80 in front of the servers of an app."""
    ports = [{"port": 80, "targetPort": PORT}]
    body = {"selector": {"app": app}, "type": type, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def policy(name, app, sources):
    """Only the apps named may reach an app's servers."""
    peers = [{"podSelector": {"matchLabels": {"app": source}}} for source in sources]
    rules = [{"from": peers, "ports": [{"port": PORT}]}] if peers else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


class Turmoil:
    """One cluster and what was done to it; ``told`` is the story so far."""

    def __init__(self, seed, log_level="warning", **extra):
        self.rng = SeededRng(seed, f"{seed}/turmoil")
        self.logged = io.StringIO()
        self.unhandled = []
        chosen = {
            "cni": self.rng.choice(["calico", "calico", "flannel"]),
            "time_profile": self.rng.choice(["fast", "typical"]),
            "zones": self.rng.choice([(), ("a", "b")]),
        }
        settings = ClusterSettings(**(chosen | extra))
        with redirect_stderr(self.logged):
            self.cluster = VirtualCluster(settings, seed, log_level=log_level, hash_schedule=True)
        self.cluster.loop.set_exception_handler(lambda _loop, about: self.unhandled.append(about))
        self.told = []
        self.cut = {}
        self.down = {}
        self.twins = []
        self.lost = {}
        self.evictions = []
        """Zone, time and node of each NoExecute taint that a lost node got."""
        self.cluster.boot()
        self.cluster.apply(CLIENT_POD)
        on_fact = self.cluster.history.on_fact

        def watched(kind, facts):
            self._look_for_twins()
            self._look_for_evictions()
            on_fact(kind, facts)

        self.cluster.history.on_fact = watched

    # ------------------------------------------------------------ at any time

    def kubelets(self):
        """The kubelets that run."""
        return self.cluster.cluster.streams._kubelets

    def _look_for_twins(self):
        """No identity of a StatefulSet may run twice, whatever happens (graceful deletions)."""
        seen = {}
        for node, kubelet in self.kubelets().items():
            for uid, worker in kubelet.workers.items():
                owner = worker.pod.metadata.controller()
                if owner is None or owner.kind != "StatefulSet" or not worker.instances:
                    continue
                other = seen.setdefault(worker.pod.key, (node, uid))
                if other != (node, uid):
                    self.twins.append((worker.pod.key, other, (node, uid)))

    def _look_for_evictions(self):
        """Note which lost nodes have got a NoExecute taint since the last look."""
        for entry in self.cluster.cluster.server.caches.of(kinds.NODE).entries():
            node = entry.view
            keys = [t.key for t in node.spec.taints if t.effect == "NoExecute" and t.key in LOST]
            name = node.metadata.name
            if keys and name not in self.lost:
                zone = node.metadata.labels.get("topology.kubernetes.io/zone", "")
                self.evictions.append((zone, self.cluster.loop.now_ns, name))
                self.lost[name] = None
            elif not keys:
                self.lost.pop(name, None)

    # ------------------------------------------------------------ operations

    def step(self):
        """Do one thing, then let some time pass."""
        act = self.rng.choice(ACTS)
        try:
            done = act(self)
        except ApiError as error:
            if error.reason not in {"NotFound", "Conflict", "Forbidden"}:
                raise
            done = f"refused: {error.message}"
        if done:
            self.told.append(f"t+{self.cluster.now_s:.3f} {act.__name__}: {done}")
            self.cluster.sleep(self.rng.choice([0.0, 0.01, 0.3, 1.0, 3.0, 12.0]))

    def node(self):
        """Any node's name."""
        return self.rng.choice(self.cluster.cluster.settings.node_names)

    def run(self, coroutine):
        """In the cluster's loop."""
        return self.cluster.run(coroutine)

    def create_deployment(self):
        name = self.rng.choice(APPS)
        replicas = self.rng.below(5)
        self.cluster.apply(workload("Deployment", name, replicas))
        return f"{name} x{replicas}"

    def roll_deployment(self):
        name = self.rng.choice(APPS)
        if self.cluster.get(kinds.DEPLOYMENT, name) is None:
            return ""
        stamp = {"stamp": str(len(self.told))}
        patch = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
        self.run(self.cluster.cluster.client.patch(kinds.DEPLOYMENT, name, patch, "default"))
        return name

    def delete_deployment(self):
        name = self.rng.choice(APPS)
        self.cluster.delete(kinds.DEPLOYMENT, name)
        return name

    def create_stateful_set(self):
        replicas = self.rng.below(4)
        management = "Parallel" if self.rng.below(2) else "OrderedReady"
        name = f"db-{management.lower()}"
        self.cluster.apply(
            front(name, name, clusterIP="None"),
            workload("StatefulSet", name, replicas, serviceName=name,
                     podManagementPolicy=management),
        )  # fmt: skip
        return f"{name} x{replicas}"

    def delete_stateful_set(self):
        name = self.rng.choice(["db-parallel", "db-orderedready"])
        self.cluster.delete(kinds.STATEFUL_SET, name)
        return name

    def create_service(self):
        app = self.rng.choice(APPS)
        shape = self.rng.choice(["clusterip", "nodeport", "local", "headless"])
        spec = {
            "nodeport": {"type": "NodePort"},
            "local": {"type": "NodePort", "externalTrafficPolicy": "Local"},
            "headless": {"clusterIP": "None"},
        }.get(shape, {})
        self.cluster.apply(front(f"{app}-{shape}", app, **spec))
        return f"{app}-{shape}"

    def delete_service(self):
        services = [s for s in self.cluster.objects(kinds.SERVICE, "default") if s.spec.selector]
        if not services:
            return ""
        name = self.rng.choice(services).metadata.name
        self.cluster.delete(kinds.SERVICE, name)
        return name

    def apply_policy(self):
        app = self.rng.choice(APPS)
        sources = [a for a in (*APPS, CLIENT) if self.rng.below(2)]
        body = policy(f"guard-{app}", app, sources)
        self.cluster.apply(body)
        return f"{app} from {sources}"

    def delete_policy(self):
        name = f"guard-{self.rng.choice(APPS)}"
        self.cluster.delete(kinds.NETWORK_POLICY, name)
        return name

    def create_namespace(self):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "passing"}}
        body = workload("Deployment", "guest", 2)
        body["metadata"]["namespace"] = "passing"
        self.cluster.apply(space, body)
        return "passing"

    def delete_namespace(self):
        self.cluster.delete(kinds.NAMESPACE, "passing", "")
        return "passing"

    def delete_pod(self):
        force = self.rng.below(2) == 0
        pods = [p for p in self.cluster.pods("default") if p.metadata.name != CLIENT]
        if force:  # a forced deletion gives up that an identity is unique (documentation)
            pods = [p for p in pods if p.metadata.controller().kind != "StatefulSet"]
        if not pods:
            return ""
        name = self.rng.choice(sorted(pods, key=lambda p: p.key)).metadata.name
        self.cluster.delete(kinds.POD, name, grace_s=0 if force else None)
        return f"{name} {'by force' if force else ''}"

    def delete_system_pod(self):
        pods = sorted(self.cluster.pods("kube-system"), key=lambda p: p.key)
        name = self.rng.choice(pods).metadata.name
        self.cluster.delete(kinds.POD, name, "kube-system")
        return name

    def scale_coredns(self):
        replicas = self.rng.below(4)
        patch = {"spec": {"replicas": replicas}}
        client = self.cluster.cluster.client
        self.run(client.patch(kinds.DEPLOYMENT, "coredns", patch, "kube-system"))
        return str(replicas)

    def stop_kubelet(self):
        node = self.node()
        if node in self.down:
            return ""
        self.lose_kubelet(node)
        return node

    def lose_kubelet(self, node):
        """The process ends; what it told the kernel stays."""
        self.down[node] = "kubelet"
        self.cluster.stop_kubelet(node)

    def start_kubelet(self):
        node = self.node()
        if self.down.get(node) != "kubelet":
            return ""
        self._start(node)
        return node

    def _start(self, node):
        if self.down.pop(node) == "power":
            self.cluster.power_on(node)
        else:
            self.cluster.start_kubelet(node)

    def power_off(self):
        node = self.node()
        if self.down:
            return ""
        self.lose_power(node)
        return node

    def lose_power(self, node):
        """The machine stops, and everything on it."""
        self.down[node] = "power"
        self.cluster.power_off(node)

    def power_on(self):
        for node, why in self.down.items():
            if why == "power":
                self._start(node)
                return node
        return ""

    def out_of_service(self):
        """A person vouches that a node without power is down."""
        for node, why in self.down.items():
            if why == "power":
                self._vouch(node, down=True)
                return node
        return ""

    def _vouch(self, node, *, down):
        client = self.cluster.cluster.client
        view = self.cluster.get(kinds.NODE, node)
        taints = [to_json(t) for t in view.spec.taints if t.key != OUT_OF_SERVICE]
        if down:
            taints.append({"key": OUT_OF_SERVICE, "effect": "NoExecute"})
        if len(taints) != len(view.spec.taints):
            meta = {"resourceVersion": view.metadata.resource_version}
            self.run(client.patch(kinds.NODE, node, {"metadata": meta, "spec": {"taints": taints}}))

    def cut_link(self):
        a, b = self.node(), self.rng.choice([self.node(), CONTROL_PLANE])
        if a == b:
            return ""
        self.lose_link(a, b)
        return f"{a} - {b}"

    def lose_link(self, a, b=CONTROL_PLANE):
        """No frame passes between two hosts."""
        self.cut[a, b] = None
        self.cluster.cluster.fabric.wire.set_link(a, b, up=False)

    def heal_link(self):
        if not self.cut:
            return ""
        a, b = self.rng.choice(list(self.cut))
        del self.cut[a, b]
        self.cluster.cluster.fabric.wire.heal()
        for pair in self.cut:
            self.cluster.cluster.fabric.wire.set_link(*pair, up=False)
        return f"{a} - {b}"

    def cordon(self):
        node, wanted = self.node(), bool(self.rng.below(2))
        self._cordon(node, wanted)
        return f"{node} {wanted}"

    def _cordon(self, node, wanted):
        patch = {"spec": {"unschedulable": wanted or None}}
        self.run(self.cluster.cluster.client.patch(kinds.NODE, node, patch))

    def talk(self):
        services = self.cluster.objects(kinds.SERVICE, "default")
        name = self.rng.choice([s.metadata.name for s in services])
        try:
            found = self.cluster.exec(CLIENT, "curl", "-s", "-m", "2", f"http://{name}/hostname")
        except (ApiError, ConnectionError, TimeoutError) as error:
            return f"{name}: {error}"
        return f"{name}: {found.stdout or found.code}"

    def wait_long(self):
        if self.rng.below(4):
            return ""
        minutes = self.rng.choice([1, 1, 7])
        self.cluster.sleep(60.0 * minutes)
        return f"{minutes} min"

    def heal(self):
        """Undo every fault and wait until all is Ready again."""
        self.cut.clear()
        self.cluster.cluster.fabric.wire.heal()
        for node in list(self.down):
            self._start(node)
        for node in self.cluster.cluster.settings.node_names:
            self._cordon(node, False)
            self._vouch(node, down=False)
        client = self.cluster.cluster.client
        patch = {"spec": {"replicas": 2}}
        self.run(client.patch(kinds.DEPLOYMENT, "coredns", patch, "kube-system"))
        self.told.append(f"t+{self.cluster.now_s:.3f} healed")
        self.cluster.sleep(BACKOFF_S)
        self.cluster.apply(CLIENT_POD)  # a bare pod that was evicted comes back by hand only
        converged = self.cluster.converge(400.0)
        self.cluster.until_quiet(3.0)
        return converged


ACTS = (
    *[Turmoil.create_deployment] * 4,
    Turmoil.roll_deployment,
    Turmoil.delete_deployment,
    *[Turmoil.create_stateful_set] * 2,
    Turmoil.delete_stateful_set,
    *[Turmoil.create_service] * 3,
    Turmoil.delete_service,
    *[Turmoil.apply_policy] * 2,
    Turmoil.delete_policy,
    Turmoil.create_namespace,
    Turmoil.delete_namespace,
    *[Turmoil.delete_pod] * 3,
    Turmoil.delete_system_pod,
    Turmoil.scale_coredns,
    Turmoil.stop_kubelet,
    *[Turmoil.start_kubelet] * 2,
    Turmoil.power_off,
    *[Turmoil.power_on] * 2,
    Turmoil.out_of_service,
    *[Turmoil.cut_link] * 2,
    *[Turmoil.heal_link] * 2,
    Turmoil.cordon,
    *[Turmoil.talk] * 2,
    Turmoil.wait_long,
)
