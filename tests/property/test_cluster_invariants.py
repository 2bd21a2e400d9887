"""Whatever is done to a cluster, once it healed its parts agree with each other."""

import gc
import os
import re
from ipaddress import ip_address, ip_network

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import parse_time
from podwire.apiserver.cache.hub import ROOT
from podwire.kube_proxy.model import service_port_name
from podwire.kube_proxy.modes.iptables.names import port_hash
from podwire.netpol.evaluator import Evaluator
from tests.property.turmoil import CLIENT, PORT, Turmoil, front, workload
from tests.rotation import some

SEEDS = range(int(os.environ.get("PODWIRE_SWEEP_SEEDS", "60"))
              if os.environ.get("PODWIRE_SWEEP") else 3)  # fmt: skip
STEPS = 25
CONNTRACK_BOUND = 2000
EVICTION_GAP_NS = 9_900_000_000
"""--node-eviction-rate 0.1, less what a write may take longer than the one before."""
EXPECTED_LOGS = (
    "the link is down",
    "being terminated",
)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_healed_cluster_agrees_with_itself(seed):
    """Objects, disks, kernels, rules, names and verdicts tell one story."""
    _agree_after_steps(Turmoil(seed))


@pytest.mark.parametrize("seed", SEEDS[: max(1, len(SEEDS) // 10)])
def test_a_healed_cluster_agrees_with_itself_in_ipvs_mode(seed):
    """Virtual servers instead of chains."""
    _agree_after_steps(Turmoil(seed, proxy_mode="ipvs"))


def _agree_after_steps(world):
    try:
        for _ in range(STEPS):
            world.step()
        agree(world)
    finally:
        world.cluster.close()


@pytest.mark.parametrize("seed", SEEDS[: max(1, len(SEEDS) // 10)])
@pytest.mark.parametrize(
    "lose", some([Turmoil.lose_link, Turmoil.lose_power, Turmoil.lose_kubelet], 1)
)
def test_a_node_that_was_lost_for_long_comes_back(lose, seed):
    """Its pods are evicted after five minutes; then it returns and nothing is left of them."""
    world = Turmoil(seed)
    try:
        world.cluster.apply(
            workload("Deployment", "red", 4),
            front("red", "red"),
            front("db", "db", clusterIP="None"),
            workload("StatefulSet", "db", 3, serviceName="db", podManagementPolicy="Parallel"),
        )
        assert world.cluster.converge()
        lose(world, "node-1")
        world.cluster.sleep(420.0)
        ready = {p.spec.node_name for p in world.cluster.pods("default") if p.ready}
        assert "node-1" not in ready
        agree(world)
    finally:
        world.cluster.close()


@pytest.mark.parametrize("seed", SEEDS[:1] if len(SEEDS) < 10 else SEEDS[::5])
def test_turmoil_has_one_history(seed):
    """Neither the garbage collector nor the log level has a part in it."""

    def history(log_level, collect):
        world = Turmoil(seed, log_level)
        try:
            for _ in range(STEPS):
                collect()
                world.step()
            return world.told, world.cluster.trace_hash, world.cluster.loop.schedule_hash
        finally:
            world.cluster.close()

    first = history("off", gc.collect)
    gc.disable()
    try:
        assert history("debug", lambda: None) == first
    finally:
        gc.enable()


def agree(world):
    """Heal, then hold every part against the others."""
    converged = world.heal()
    wrong = [] if converged else [f"not converged:\n{world.cluster.summary()}"]
    for check in CHECKS:
        wrong += _wrong(check, world)
    assert not wrong, "\n".join([*world.told, *wrong])


def _wrong(check, world):
    try:
        return [f"{check.__name__}: {text}" for text in check(world)]
    except (ApiError, OSError) as error:
        return [f"{check.__name__}: {error!r}"]


# ---------------------------------------------------------------- what pods hold


def _networked(world):
    """Pods with an address of their own."""
    done = ("Succeeded", "Failed")
    return [
        p
        for p in world.cluster.pods()
        if not p.spec.host_network and p.status.pod_ip and p.status.phase not in done
    ]


def addresses(world):
    """Each pod's address is its own and of its node's range."""
    cidrs = {n.metadata.name: n.spec.pod_cidr for n in world.cluster.objects(kinds.NODE)}
    seen = {}
    for pod in _networked(world):
        ip = pod.status.pod_ip
        if seen.setdefault(ip, pod.key) != pod.key:
            yield f"{pod.key} and {seen[ip]} both hold {ip}"
        if ip_address(ip) not in ip_network(cidrs[pod.spec.node_name]):
            yield f"{pod.key} on {pod.spec.node_name} holds {ip}"


def reservations(world):
    """host-local's files and the CNI cache are the pods that live there."""
    for name, host in world.cluster.cluster.fabric.hosts.items():
        pods = [p for p in _networked(world) if p.spec.node_name == name]
        paths = [p.rpartition("/")[2] for p in host.disk.paths("/var/lib/cni/networks/")]
        reserved = sorted(p for p in paths if p[0].isdigit())
        wanted = sorted(p.status.pod_ip for p in pods)
        if reserved != wanted:
            yield f"{name} reserves {reserved}, its pods hold {wanted}"
        cached = host.disk.paths("/var/lib/cni/results/")
        if len(cached) != len(pods):
            yield f"{name} caches {cached} for {len(pods)} pods"


def devices(world):
    """A namespace and a veth per pod, no more."""
    for name, host in world.cluster.cluster.fabric.hosts.items():
        pods = [p for p in _networked(world) if p.spec.node_name == name]
        spaces = [n for n in host.kernel.namespaces() if n]
        veths = [ln.name for ln in host.kernel.netns("").links.values() if ln.kind == "veth"]
        if not len(spaces) == len(veths) == len(pods):
            yield f"{name}: {len(pods)} pods, namespaces {spaces}, devices {veths}"


def endings(world):
    """Nothing is stuck Terminating; each kubelet works for the pods of its node."""
    for pod in world.cluster.pods():
        if pod.metadata.deletion_timestamp:
            yield f"{pod.key} is still terminating"
    for node, kubelet in world.kubelets().items():
        pods = {p.metadata.uid for p in world.cluster.pods() if p.spec.node_name == node}
        if set(kubelet.workers) != pods:
            yield f"{node} works for {len(kubelet.workers)} pods, it has {len(pods)}"


def identities(world):
    """No StatefulSet identity ever ran twice at a time."""
    return [f"{pod}: {one} and {other}" for pod, one, other in world.twins[:3]]


def evictions(world):
    """No zone's nodes were tainted NoExecute faster than one in ten seconds."""
    last = {}
    for zone, at_ns, node in world.evictions:
        if zone in last and at_ns - last[zone][0] < EVICTION_GAP_NS:
            other = last[zone][1]
            yield f"zone {zone!r}: {node} {(at_ns - last[zone][0]) / 1e9:.3f} s after {other}"
        last[zone] = (at_ns, node)


# ---------------------------------------------------------------- what controllers say


def owners(world):
    """Everything owned has its owner."""
    caches = world.cluster.cluster.server.caches
    uids = {e.view.metadata.uid for kind in kinds.STORED for e in caches.of(kind).entries()}
    for kind in kinds.STORED:
        for entry in caches.of(kind).entries():
            for owner in entry.view.metadata.owner_references:
                if owner.uid not in uids:
                    yield f"{kind.kind} {entry.view.key} outlived {owner.kind} {owner.name}"


def statuses(world):
    """Deployments, ReplicaSets and StatefulSets count their pods truly."""
    pods = world.cluster.pods()
    owned = {}
    for pod in pods:
        owner = pod.metadata.controller()
        owned.setdefault(owner.uid if owner else "", []).append(pod)
    sets = world.cluster.objects(kinds.REPLICA_SET)
    stateful = world.cluster.objects(kinds.STATEFUL_SET)
    counted = [(view, owned.get(view.metadata.uid, [])) for view in (*sets, *stateful)]
    for view in world.cluster.objects(kinds.DEPLOYMENT):
        own = [s for s in sets if s.metadata.controller().uid == view.metadata.uid]
        counted.append((view, [p for s in own for p in owned.get(s.metadata.uid, [])]))
        available = [c.status for c in view.status.conditions if c.type == "Available"]
        if available != ["True"]:
            yield f"Deployment {view.key} Available: {available}"
    for view, its in counted:
        status = view.status
        ready = sum(p.ready for p in its)
        shown = (status.replicas, status.ready_replicas, status.available_replicas)
        if shown != (len(its), ready, ready) or len(its) != view.spec.replicas:
            yield f"{view.key} wants {view.spec.replicas}, has {len(its)}, shows {shown}"
        if status.observed_generation != view.metadata.generation:
            yield f"{view.key} observed {status.observed_generation}"


def _chosen(world, service):
    """Addresses of the ready pods that a Service selects."""
    space, selector = service.metadata.namespace, service.spec.selector
    return sorted(
        p.status.pod_ip
        for p in world.cluster.pods(space)
        if p.ready and selector.items() <= p.metadata.labels.items()
    )


def endpoints(world):
    """EndpointSlices and Endpoints name exactly the ready pods selected."""
    slices = world.cluster.objects(kinds.ENDPOINT_SLICE)
    for service in world.cluster.objects(kinds.SERVICE):
        if not service.spec.selector:
            continue
        name, space = service.metadata.name, service.metadata.namespace
        mine = [
            s
            for s in slices
            if s.metadata.namespace == space
            and s.metadata.labels.get("kubernetes.io/service-name") == name
        ]
        listed = sorted(a for s in mine for e in s.endpoints if e.conditions.ready is not False
                        for a in e.addresses)  # fmt: skip
        wanted = _chosen(world, service)
        if listed != wanted:
            yield f"slices of {service.key} list {listed}, ready are {wanted}"
        old = world.cluster.get(kinds.ENDPOINTS, name, space)
        told = sorted(a.ip for subset in old.subsets for a in subset.addresses)
        if told != wanted:
            yield f"Endpoints {service.key} list {told}, ready are {wanted}"


def leases(world):
    """Every node is Ready and its Lease is fresh."""
    now_ns = world.cluster.env.clock.now_ns()
    for node in world.cluster.objects(kinds.NODE):
        lease = world.cluster.get(kinds.LEASE, node.metadata.name, "kube-node-lease")
        age_s = (now_ns - parse_time(lease.spec.renew_time)) / 1e9
        if age_s > 15:
            yield f"{node.metadata.name} renewed its Lease {age_s:.1f} s ago"
        if node.spec.taints:
            yield f"{node.metadata.name} keeps taints {node.spec.taints}"


def caches(world):
    """The watch cache is the store."""
    server = world.cluster.cluster.server
    for kind in kinds.STORED:
        cache = server.caches.of(kind)
        page = world.run(world.cluster.cluster.store.range(f"{ROOT}{kind.plural}/"))
        stored = [(kv.key, kv.mod_revision, kv.value) for kv in page.kvs]
        if stored != [(e.key, e.revision, e.value) for e in cache.entries()]:
            yield f"{kind.plural} differ"


# ---------------------------------------------------------------- what the network does


def _rules(world, node):
    """Chain -> its rules, of a node's nat table, as iptables-save prints them."""
    fabric = world.cluster.cluster.fabric
    found = world.run(fabric.tool(node, "", ["iptables-save", "-t", "nat"]))
    chains = {}
    for line in found.stdout.splitlines():
        if line.startswith(":"):
            chains[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            chains[line.split()[1]].append(line)
    return chains


def _targets(chains, name):
    """Where a chain's jumps lead in the end."""
    found = []
    for rule in chains.get(name, ()):
        if "DNAT" in rule:
            found.append(re.search(r"--to-destination (\S+)", rule).group(1))
        elif jump := re.search(r"-j (KUBE-SEP-\S+)", rule):
            found += _targets(chains, jump.group(1))
    return found


def rules(world):
    """On every node each Service's chain leads to exactly its endpoints; nothing else is left."""
    if world.cluster.cluster.settings.proxy_mode == "ipvs":
        yield from _virtual_servers(world)
        return
    services = [s for s in world.cluster.objects(kinds.SERVICE) if s.spec.selector
                and not s.headless]  # fmt: skip
    for node in world.cluster.cluster.settings.node_names:
        chains = _rules(world, node)
        known = {f"KUBE-SVC-{port_hash('default/kubernetes:https', 'tcp')}"}
        for service in services:
            for port in service.spec.ports:
                named = service_port_name(*service.key.split("/"), port.name)
                chain = f"KUBE-SVC-{port_hash(named, port.protocol.lower())}"
                wanted = [f"{ip}:{port.target_port}" for ip in _chosen(world, service)]
                if wanted:
                    known.add(chain)
                if sorted(_targets(chains, chain)) != wanted:
                    led = _targets(chains, chain)
                    yield f"{node}: {named} leads to {led}, wanted {wanted}"
        left = {c for c in chains if c.startswith("KUBE-SVC-")} - known
        if left:
            yield f"{node} keeps {sorted(left)}"
        used = sum(len(_targets(chains, c)) for c in known)
        if used != sum(c.startswith("KUBE-SEP-") for c in chains):
            yield f"{node} keeps chains of endpoints that nothing uses"


def _virtual_servers(world):
    """The same of IPVS: every virtual server of a cluster IP, and those real servers that count."""
    fabric = world.cluster.cluster.fabric
    option = {"TCP": "-t", "UDP": "-u"}
    wanted = {
        f"{option[port.protocol]} {service.spec.cluster_ip}:{port.port}": [
            f"{ip}:{port.target_port}" for ip in _chosen(world, service)
        ]
        for service in world.cluster.objects(kinds.SERVICE)
        if service.spec.selector and not service.headless
        for port in service.spec.ports
    }
    services = world.cluster.objects(kinds.SERVICE)
    doors = {service.spec.cluster_ip for service in services}
    node_ports = {str(port.node_port) for service in services for port in service.spec.ports}
    for node in world.cluster.cluster.settings.node_names:
        found = {}
        for line in world.run(fabric.tool(node, "", ["ipvsadm", "-Sn"])).stdout.splitlines():
            words = line.split()
            servers = found.setdefault(" ".join(words[1:3]), [])
            if words[0] == "-a" and words[-1] != "0":
                servers.append(words[4])
        for door, servers in wanted.items():
            if sorted(found.get(door, ())) != servers:
                yield f"{node}: {door} leads to {found.get(door)}, wanted {servers}"
        parted = {door: door[3:].rsplit(":", 1) for door in found}
        if left := [d for d, (ip, port) in parted.items() if not {ip, port} & (doors | node_ports)]:
            yield f"{node} keeps {sorted(left)}"


def names(world):
    """CoreDNS answers what the Services are."""
    for service in world.cluster.objects(kinds.SERVICE):
        name = f"{service.metadata.name}.{service.metadata.namespace}.svc.cluster.local"
        found = world.cluster.exec(CLIENT, "dig", "+short", name)
        wanted = _chosen(world, service) if service.headless else [service.spec.cluster_ip]
        if found.code or sorted(found.stdout.split()) != wanted:
            yield f"{name}: {found.stdout.split()} {found.stderr}, wanted {wanted}"
    missing = world.cluster.exec(CLIENT, "dig", "nosuch.default.svc.cluster.local")
    if "NXDOMAIN" not in missing.stdout:
        yield f"nosuch: {missing.stdout}"


def verdicts(world):
    """What the policies say is what a walk meets, pod to pod and by Service."""
    nodes = world.cluster.objects(kinds.NODE)
    enforced = world.cluster.cluster.settings.cni == "calico"  # flannel ignores them, as in life
    evaluator = Evaluator(
        world.cluster.pods(),
        world.cluster.objects(kinds.NAMESPACE),
        world.cluster.objects(kinds.NETWORK_POLICY) if enforced else [],
        {n.internal_ip: n.metadata.name for n in nodes},
    )
    pods = sorted(world.cluster.pods("default"), key=lambda p: p.key)
    by_ip = {p.status.pod_ip: p for p in pods}
    servers = [p for p in pods if p.metadata.name != CLIENT]
    sources = [p for p in pods if p.metadata.name == CLIENT] + servers[::3]
    for source in sources:
        for target in servers[:: max(1, len(servers) // 4)]:
            allowed = evaluator.verdict(source, target, "TCP", PORT).allowed
            report = world.cluster.trace(
                f"pod/{source.metadata.name}", f"pod/{target.metadata.name}:{PORT}"
            )
            if report.fate != ("DELIVERED" if allowed else "DENIED_IN"):
                yield f"{report.source} > {report.destination}: {report.fate}, {allowed=}"
    client = next(p for p in pods if p.metadata.name == CLIENT)
    for service in world.cluster.objects(kinds.SERVICE, "default"):
        if not service.spec.selector or service.headless:
            continue
        chosen = _chosen(world, service)
        report = world.cluster.trace(f"pod/{CLIENT}", f"svc/{service.metadata.name}:80")
        fates = sorted(b.fate for b in report.branches) or [report.fate]
        wanted = sorted(
            "DELIVERED" if evaluator.verdict(client, by_ip[ip], "TCP", PORT).allowed
            else "DENIED_IN" for ip in chosen
        ) or ["NO_ENDPOINTS"]  # fmt: skip
        if fates != wanted:
            yield f"{CLIENT} > {service.metadata.name}: {fates}, wanted {wanted}"


def bounds(world):
    """Connection tracking forgets."""
    for name, host in world.cluster.cluster.fabric.hosts.items():
        for space in host.kernel.namespaces():
            count = len(host.kernel.netns(space).conntrack)
            if count > CONNTRACK_BOUND:
                yield f"{name} {space} tracks {count} connections"


def silence(world):
    """No error, no unexpected warning, no exception that nobody took."""
    for line in world.logged.getvalue().splitlines():
        if not any(known in line for known in EXPECTED_LOGS):
            yield line[:600]
    for about in world.unhandled:
        yield f"{about.get('message')}: {about.get('exception')!r}"


CHECKS = (
    addresses, reservations, devices, endings, identities, evictions, owners, statuses,
    endpoints, leases, caches, rules, names, verdicts, bounds, silence,
)  # fmt: skip
