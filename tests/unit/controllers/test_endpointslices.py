"""EndpointSlices and Endpoints: what they say, and how little they change."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.api.view import JSON, to_json
from podwire.api.views import Endpoints, EndpointSlice, Node, Pod, Service
from podwire.client.effects import Create, Delete, Effect, Emit, Patch
from podwire.controllers.endpoints import core as endpoints
from podwire.controllers.endpointslice import core
from podwire.controllers.endpointslice.topology import Topology
from podwire.controllers.endpointslice.trigger import TriggerTimes
from tests.unit.client.fake_api import merge
from tests.unit.controllers.cluster import Cluster, play, workload


def service(name: str = "web", **spec: Any) -> Service:
    meta = {"name": name, "namespace": "default", "uid": "svc", "labels": {"team": "a"}}
    body = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return msgspec.convert({"metadata": meta, "spec": body}, Service)


def pod(n: int, *, ready: bool = True, port: int = 8080, dying: bool = False, **more: Any) -> Pod:
    meta = {"name": f"web-{n}", "namespace": "default", "uid": f"u{n}", "labels": {"app": "web"}}
    if dying:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ports = [{"name": "http", "containerPort": port}]
    return msgspec.convert(
        {
            "metadata": meta,
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "ports": ports}], **more},
            "status": {
                "phase": "Running",
                "podIP": f"10.244.{n // 250}.{n % 250}",
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            },
        },
        Pod,
    )


class Store:
    """Applies effects to slices as the API server would."""

    def __init__(self) -> None:
        self.bodies: dict[str, JSON] = {}
        self.made = 0

    @property
    def slices(self) -> list[EndpointSlice]:
        return [msgspec.convert(b, EndpointSlice) for _, b in sorted(self.bodies.items())]

    def perform(self, effects: list[Effect]) -> list[str]:
        """The verbs performed."""
        verbs = []
        for effect in effects:
            verbs.append(type(effect).__name__)
            match effect:
                case Create():
                    self.made += 1
                    name = f"{effect.body['metadata']['generateName']}{self.made:03}"
                    meta = {**effect.body["metadata"], "name": name, "uid": name}
                    self.bodies[name] = {**effect.body, "metadata": meta}
                case Patch():
                    patch = {**effect.patch, "metadata": dict(effect.patch["metadata"])}
                    patch["metadata"].pop("resourceVersion")
                    self.bodies[effect.name] = merge(self.bodies[effect.name], patch)
                case Delete():
                    del self.bodies[effect.name]
        return verbs

    def reconcile(self, svc: Service, pods: list[Pod], **nodes: Node) -> list[str]:
        return self.perform(core.reconcile(svc, pods, self.slices, nodes, ""))

    def addresses(self) -> list[str]:
        return sorted(e.addresses[0] for s in self.slices for e in s.endpoints)


def test_an_endpoint_says_everything_a_proxy_needs():
    """Address, conditions, node, zone, target; the slice is labelled and owned."""
    store = Store()
    labels = {"topology.kubernetes.io/zone": "z1"}
    node = msgspec.convert({"metadata": {"name": "node-1", "labels": labels}}, Node)
    store.perform(core.reconcile(service(), [pod(1)], [], {"node-1": node}, "2026-01-01T00:00:05Z"))
    (body,) = store.bodies.values()
    assert body["endpoints"] == [
        {
            "addresses": ["10.244.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-1", "uid": "u1"},
            "nodeName": "node-1",
            "zone": "z1",
        }
    ]
    assert body["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    meta = body["metadata"]
    assert meta["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert meta["annotations"] == {
        "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:05Z"
    }
    assert meta["ownerReferences"][0]["kind"] == "Service"


def test_terminating_and_unready_pods_stay_but_say_so():
    """ready, serving, terminating of a dying pod, an unready one, and a published one."""

    def conditions(svc: Service, item: Pod) -> tuple[bool, bool, bool]:
        store = Store()
        store.reconcile(svc, [item])
        (endpoint,) = store.slices[0].endpoints
        c = endpoint.conditions
        return bool(c.ready), bool(c.serving), bool(c.terminating)

    assert conditions(service(), pod(1, dying=True)) == (False, True, True)
    assert conditions(service(), pod(1, ready=False)) == (False, False, False)
    published = service(publishNotReadyAddresses=True)
    assert conditions(published, pod(1, ready=False)) == (True, False, False)


def test_named_ports_that_differ_between_pods_make_separate_slices():
    """A rollout that changes the port's number serves both."""
    store = Store()
    store.reconcile(service(), [pod(1, port=8080), pod(2, port=9090)])
    found = sorted((s.ports[0].port, len(s.endpoints)) for s in store.slices)
    assert found == [(8080, 1), (9090, 1)]


def test_a_headless_services_hostnames_come_from_subdomain_and_hostname():
    """StatefulSet pods get names in DNS."""
    store = Store()
    svc = service(clusterIP="None")
    store.reconcile(svc, [pod(1, hostname="web-1", subdomain="web"), pod(2, hostname="x")])
    (piece,) = store.slices
    assert [e.hostname for e in piece.endpoints] == ["web-1", ""]
    assert piece.metadata.labels["service.kubernetes.io/headless"] == ""


def test_a_hundred_and_one_pods_need_two_slices_and_one_change_patches_one():
    """At most 100 per slice; nothing else is rewritten; nothing is written twice."""
    store = Store()
    pods = [pod(n) for n in range(250)]
    assert store.reconcile(service(), pods) == ["Create"] * 3
    assert sorted(len(s.endpoints) for s in store.slices) == [50, 100, 100]
    assert store.reconcile(service(), pods) == []
    pods[120] = pod(120, ready=False)
    assert store.reconcile(service(), pods) == ["Patch"]
    del pods[3]
    assert store.reconcile(service(), pods) == ["Patch"]
    pods.append(pod(300))
    assert store.reconcile(service(), pods) == ["Patch"], "into a slice with room"
    assert len(store.addresses()) == 250


def test_without_pods_one_empty_slice_remains():
    """A placeholder, reused when pods come."""
    store = Store()
    assert store.reconcile(service(), []) == ["Create"]
    assert store.slices[0].endpoints == []
    assert store.reconcile(service(), []) == []
    assert store.reconcile(service(), [pod(1)]) == ["Patch"]
    assert store.addresses() == ["10.244.0.1"]
    assert store.reconcile(service(), []) == ["Patch"]
    assert store.reconcile(service(), []) == []


def test_a_changed_service_label_is_carried_over_and_a_lost_one_removed():
    """Labels follow; endpoints are not rewritten for it."""
    store = Store()
    store.reconcile(service(), [pod(1)])
    meta = {"name": "web", "namespace": "default", "uid": "svc", "labels": {"tier": "b"}}
    body = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    svc = msgspec.convert({"metadata": meta, "spec": body}, Service)
    (patch,) = core.reconcile(svc, [pod(1)], store.slices, {}, "")
    assert isinstance(patch, Patch)
    assert patch.patch["metadata"]["labels"] == {"tier": "b", "team": None}
    assert "endpoints" not in patch.patch


@settings(max_examples=60)
@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 130),
            st.tuples(st.booleans(), st.sampled_from([8080, 9090])),
            max_size=130,
        ),
        max_size=5,
    )
)
def test_any_history_of_pods_converges_to_exactly_those_pods(
    history: list[dict[int, tuple[bool, int]]],
) -> None:
    """Each address once, no slice above 100, right ports, and a second pass changes nothing."""
    store = Store()
    for state in history:
        pods = [pod(n, ready=ready, port=port) for n, (ready, port) in sorted(state.items())]
        store.reconcile(service(), pods)
        assert store.addresses() == sorted(p.status.pod_ip for p in pods)
        assert all(len(s.endpoints) <= core.MAX_ENDPOINTS for s in store.slices)
        ports = {e.addresses[0]: s.ports[0].port for s in store.slices for e in s.endpoints}
        assert ports == {p.status.pod_ip: state[int(p.metadata.uid[1:])][1] for p in pods}
        assert store.reconcile(service(), pods) == []


def test_the_trigger_time_is_the_earliest_change_since_the_last_pass():
    """Nothing new: nothing to say."""

    def at(n: int, second: int) -> Pod:
        body = msgspec.to_builtins(pod(n))
        when = f"2026-01-01T00:00:{second:02}Z"
        body["status"]["conditions"][0]["lastTransitionTime"] = when
        return msgspec.convert(body, Pod)

    times = TriggerTimes()
    assert times.compute(service(), [at(1, 7), at(2, 5)]) == "2026-01-01T00:00:05Z"
    assert times.compute(service(), [at(1, 7), at(2, 5)]) == ""
    assert times.compute(service(), [at(1, 9), at(2, 5)]) == "2026-01-01T00:00:09Z"


def test_v1_endpoints_mirror_readiness_and_leave_terminating_pods_out():
    """Ready and not ready addresses of one port group; a dying pod is gone."""
    pods = [pod(1), pod(2, ready=False), pod(3, dying=True)]
    (made,) = endpoints.reconcile(service(), pods, None, "")
    assert isinstance(made, Create)
    (subset,) = made.body["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.244.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.2"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    current = msgspec.convert(made.body, Endpoints)
    assert endpoints.reconcile(service(), pods, current, "") == []
    (patch,) = endpoints.reconcile(service(), [], current, "")
    assert isinstance(patch, Patch)
    assert patch.patch["subsets"] is None


def test_a_service_follows_its_pods_through_a_rollout():
    """With controllers, late watches and a dying Service."""

    async def story(c: Cluster) -> None:
        c.node("node-1")
        c.stop_s = 5
        c.api.put(kinds.DEPLOYMENT, workload("web", 3))
        meta = {"name": "web", "namespace": "default"}
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
        c.api.put(kinds.SERVICE, {"metadata": meta, "spec": spec})
        await c.env.clock.sleep(30)

        def ready() -> list[str]:
            return sorted(
                e["addresses"][0]
                for s in c.api.all(kinds.ENDPOINT_SLICE)
                for e in s["endpoints"]
                if e["conditions"]["ready"]
            )

        assert len(ready()) == 3
        victim = c.live_pods()[0]["metadata"]["name"]
        c.fail(f"default/{victim}")
        await c.env.clock.sleep(2)
        assert len(ready()) == 2
        subsets = c.api.get(kinds.ENDPOINTS, "default/web")["subsets"]
        assert len(subsets[0]["notReadyAddresses"]) == 1
        c.api.remove(kinds.SERVICE, "default/web")
        await c.env.clock.sleep(5)
        assert c.names(kinds.ENDPOINT_SLICE) == []
        assert c.names(kinds.ENDPOINTS) == []

    play(story, watch_delay_s=0.1)


def dual(number: int, *, six: bool = True) -> Pod:
    """A pod with an address of each family, or of IPv4 only."""
    made = pod(number)
    ips = [made.status.pod_ip, *([f"fd00:244::{number}"] if six else [])]
    status = {**to_json(made.status), "podIPs": [{"ip": ip} for ip in ips]}
    return msgspec.convert({**to_json(made), "status": status}, Pod)


def addresses(effects: list[Effect]) -> dict[str, list[str]]:
    """By address type, the addresses of slices that are made."""
    bodies = [e.body for e in effects if isinstance(e, Create)]
    return {
        body["addressType"]: [ip for e in body["endpoints"] for ip in e["addresses"]]
        for body in bodies
    }


def test_a_dual_stack_service_gets_slices_of_each_family():
    """A pod is in those of the families that it has an address of; the rest is as for one."""
    both = service(ipFamilies=["IPv4", "IPv6"])
    made = core.reconcile(both, [dual(1), dual(2, six=False)], [], {}, "")
    assert addresses(made) == {"IPv4": ["10.244.0.1", "10.244.0.2"], "IPv6": ["fd00:244::1"]}
    six = service(ipFamilies=["IPv6"])
    assert addresses(core.reconcile(six, [dual(2, six=False)], [], {}, "")) == {"IPv6": []}


def test_slices_of_a_family_that_the_service_gave_up_are_deleted():
    """From two families to one: the other's slices go, the own ones are not touched."""
    store, both = Store(), service(ipFamilies=["IPv4", "IPv6"])
    store.perform(core.reconcile(both, [dual(1)], [], {}, ""))
    one = service(ipFamilies=["IPv4"])
    effects = core.reconcile(one, [dual(1)], store.slices, {}, "")
    assert [type(e) for e in effects] == [Delete]
    store.perform(effects)
    assert [s.address_type for s in store.slices] == ["IPv4"]


def test_traffic_distribution_becomes_hints_of_ready_endpoints():
    """PreferClose and PreferSameZone name the zone, PreferSameNode node and zone."""
    meta = {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "zone-a"}}
    nodes = {"node-1": msgspec.convert({"metadata": meta}, Node)}

    def hints(wanted: str, **about: Any) -> Any:
        made = core.reconcile(service(trafficDistribution=wanted), [pod(1, **about)], [], nodes, "")
        (only,) = made
        assert isinstance(only, Create)
        return only.body["endpoints"][0].get("hints")

    assert hints("PreferClose") == hints("PreferSameZone") == {"forZones": [{"name": "zone-a"}]}
    assert hints("PreferSameNode") == {
        "forNodes": [{"name": "node-1"}],
        "forZones": [{"name": "zone-a"}],
    }
    assert hints("PreferSameNode", ready=False) is None
    assert hints("") is None


def test_topology_mode_shares_endpoints_out_by_cpus():
    """Two zones of one CPU each, both pods in one: one serves the other zone. What is shared out
    well stays as it is; without the annotation the hints go. Both are told.
    """
    nodes = {}
    for name, zone in (("node-1", "a"), ("node-2", "b")):
        ready = {"type": "Ready", "status": "True"}
        status = {"allocatable": {"cpu": "1"}, "conditions": [ready]}
        meta = {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}
        nodes[name] = msgspec.convert({"metadata": meta, "status": status}, Node)
    plain = service(trafficDistribution="PreferClose")
    asked = to_json(plain)
    asked["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    hinted, topology, store = msgspec.convert(asked, Service), Topology(), Store()
    pods = [pod(1), pod(2)]

    def go(of: Service) -> list[str]:
        effects = core.reconcile(of, pods, store.slices, nodes, "", topology)
        store.perform(effects)
        return [e.message if isinstance(e, Emit) else type(e).__name__ for e in effects]

    def zones() -> list[str]:
        hints = [to_json(e).get("hints", {}) for s in store.slices for e in s.endpoints]
        return sorted(zone["name"] for hint in hints for zone in hint.get("forZones", ()))

    enabled = "Topology Aware Hints has been enabled, addressType: IPv4"
    assert go(hinted) == [enabled, "Create"]
    assert zones() == ["a", "b"]
    assert go(hinted) == []
    pods.append(pod(3, ready=False))
    assert go(hinted) == ["Patch"]
    assert zones() == ["a", "b"]
    disabled = "Topology Aware Hints has been disabled, addressType: IPv4"
    assert go(plain) == [disabled, "Patch"]
    assert zones() == ["a", "a"]
