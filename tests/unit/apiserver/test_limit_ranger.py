"""LimitRanger and ResourceQuota held to cases of upstream's own tables.

Facts from kubernetes plugin/pkg/admission/limitranger/admission_test.go (TestPodLimitFunc,
TestPersistentVolumeClaimLimitFunc) and pkg/quota/v1/evaluator/core (services_test.go, pods_test.go,
persistent_volume_claims_test.go).
"""

from __future__ import annotations

from typing import Any

import pytest

from podwire.api import kinds, quantity, quotas
from podwire.api.times import format_time
from podwire.apiserver.admission import limit_ranger

CPU, MEM, DISK = "cpu", "memory", "ephemeral-storage"

# what bounds, the bounds, how many containers, their requests and limits, whether it may be
RANGES: list[tuple[str, dict[str, Any], int, dict[str, str], dict[str, str], bool]] = [
    ("Container", {"min": {CPU: "50m"}}, 1, {CPU: "100m"}, {}, True),
    ("Container", {"min": {CPU: "50m"}}, 1, {CPU: "100m"}, {CPU: "200m"}, True),
    ("Container", {"min": {MEM: "50Mi"}}, 1, {MEM: "60Mi"}, {}, True),
    ("Container", {"min": {MEM: "50Mi"}}, 1, {MEM: "60Mi"}, {MEM: "100Mi"}, True),
    ("Container", {"max": {CPU: "2"}}, 1, {CPU: "500m"}, {CPU: "1"}, True),
    ("Container", {"max": {CPU: "2"}}, 1, {}, {CPU: "1"}, True),
    ("Container", {"max": {MEM: "1Gi"}}, 1, {MEM: "250Mi"}, {MEM: "500Mi"}, True),
    ("Container", {"max": {MEM: "1Gi"}}, 1, {}, {MEM: "500Mi"}, True),
    ("Container", {"maxLimitRequestRatio": {CPU: "1.5"}}, 1, {CPU: "500m"}, {CPU: "750m"}, True),
    ("Pod", {"min": {CPU: "100m"}}, 2, {CPU: "75m"}, {}, True),
    ("Pod", {"min": {CPU: "100m"}}, 2, {CPU: "75m"}, {CPU: "200m"}, True),
    ("Pod", {"min": {MEM: "100Mi"}}, 2, {MEM: "60Mi"}, {}, True),
    ("Pod", {"min": {MEM: "100Mi"}}, 2, {MEM: "60Mi"}, {MEM: "100Mi"}, True),
    ("Pod", {"max": {CPU: "2"}}, 2, {CPU: "500m"}, {CPU: "1"}, True),
    ("Pod", {"max": {CPU: "2"}}, 2, {}, {CPU: "1"}, True),
    ("Pod", {"max": {MEM: "1Gi"}}, 2, {MEM: "250Mi"}, {MEM: "500Mi"}, True),
    ("Pod", {"max": {MEM: "1Gi"}}, 2, {}, {MEM: "500Mi"}, True),
    ("Pod", {"max": {MEM: "2Gi"}, "maxLimitRequestRatio": {MEM: "1.5"}}, 3,
     {MEM: "300Mi"}, {MEM: "450Mi"}, True),
    ("Container", {"min": {CPU: "50m"}}, 1, {CPU: "40m"}, {}, False),
    ("Container", {"min": {CPU: "50m"}}, 1, {CPU: "40m"}, {CPU: "200m"}, False),
    ("Container", {"min": {CPU: "50m"}}, 1, {}, {}, False),
    ("Container", {"min": {MEM: "50Mi"}}, 1, {MEM: "40Mi"}, {}, False),
    ("Container", {"min": {MEM: "50Mi"}}, 1, {MEM: "40Mi"}, {MEM: "100Mi"}, False),
    ("Container", {"min": {MEM: "50Mi"}}, 1, {}, {}, False),
    ("Container", {"max": {CPU: "2"}}, 1, {CPU: "500m"}, {CPU: "2500m"}, False),
    ("Container", {"max": {CPU: "2"}}, 1, {}, {CPU: "2500m"}, False),
    ("Container", {"max": {CPU: "2"}}, 1, {}, {}, False),
    ("Container", {"maxLimitRequestRatio": {CPU: "1"}}, 1, {CPU: "1250m"}, {CPU: "2500m"}, False),
    ("Container", {"max": {MEM: "1Gi"}}, 1, {MEM: "250Mi"}, {MEM: "2Gi"}, False),
    ("Container", {"max": {MEM: "1Gi"}}, 1, {}, {MEM: "2Gi"}, False),
    ("Container", {"max": {MEM: "1Gi"}}, 1, {}, {}, False),
    ("Pod", {"min": {CPU: "100m"}}, 1, {CPU: "75m"}, {}, False),
    ("Pod", {"min": {CPU: "100m"}}, 1, {CPU: "75m"}, {CPU: "200m"}, False),
    ("Pod", {"min": {MEM: "100Mi"}}, 1, {MEM: "60Mi"}, {}, False),
    ("Pod", {"min": {MEM: "100Mi"}}, 1, {MEM: "60Mi"}, {MEM: "100Mi"}, False),
    ("Pod", {"max": {CPU: "2"}}, 3, {CPU: "500m"}, {CPU: "1"}, False),
    ("Pod", {"max": {CPU: "2"}}, 3, {}, {CPU: "1"}, False),
    ("Pod", {"max": {MEM: "1Gi"}}, 3, {MEM: "250Mi"}, {MEM: "500Mi"}, False),
    ("Pod", {"max": {MEM: "1Gi"}}, 3, {}, {MEM: "500Mi"}, False),
    ("Pod", {"max": {MEM: "2Gi"}, "maxLimitRequestRatio": {MEM: "1.5"}}, 3,
     {MEM: "250Mi"}, {MEM: "500Mi"}, False),
    ("Container", {"min": {DISK: "50Mi"}}, 2, {DISK: "60Mi"}, {}, True),
    ("Container", {"min": {DISK: "50Mi"}}, 2, {DISK: "60Mi"}, {DISK: "100Mi"}, True),
    ("Container", {"max": {DISK: "600Mi"}}, 2, {DISK: "250Mi"}, {DISK: "500Mi"}, True),
    ("Container", {"max": {DISK: "600Mi"}}, 2, {}, {DISK: "500Mi"}, True),
    ("Pod", {"min": {DISK: "100Mi"}}, 2, {DISK: "60Mi"}, {}, True),
    ("Pod", {"max": {DISK: "1Gi"}}, 2, {DISK: "250Mi"}, {DISK: "500Mi"}, True),
    ("Pod", {"max": {DISK: "1Gi"}}, 2, {}, {DISK: "500Mi"}, True),
    ("Pod", {"max": {DISK: "2Gi"}, "maxLimitRequestRatio": {DISK: "1.5"}}, 3,
     {DISK: "300Mi"}, {DISK: "450Mi"}, True),
    ("Container", {"min": {DISK: "50Mi"}}, 2, {DISK: "40Mi"}, {}, False),
    ("Container", {"min": {DISK: "50Mi"}}, 2, {DISK: "40Mi"}, {DISK: "100Mi"}, False),
    ("Container", {"min": {DISK: "50Mi"}}, 2, {}, {}, False),
    ("Container", {"max": {DISK: "1Gi"}}, 2, {DISK: "250Mi"}, {DISK: "2Gi"}, False),
    ("Container", {"max": {DISK: "1Gi"}}, 2, {}, {}, False),
    ("Pod", {"min": {DISK: "100Mi"}}, 1, {DISK: "60Mi"}, {DISK: "100Mi"}, False),
    ("Pod", {"max": {DISK: "1Gi"}}, 3, {}, {DISK: "500Mi"}, False),
    ("Pod", {"max": {DISK: "2Gi"}, "maxLimitRequestRatio": {DISK: "1.5"}}, 3,
     {DISK: "250Mi"}, {DISK: "500Mi"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "bounds", "count", "requests", "limits", "may"), RANGES)
def test_what_a_range_lets_in(type_, bounds, count, requests, limits, may):
    """Containers one by one, or pods by the sum of theirs."""
    resources = {"requests": requests, "limits": limits}
    spec = {"containers": [{"name": f"foo-{i}", "resources": resources} for i in range(count)]}
    found = limit_ranger.complaints(spec, [{"type": type_, **bounds}])
    assert (found == []) == may


# the bounds of a pod, how many containers, what one has; what its init containers have
INITIAL: list[tuple[dict[str, Any], int, Any, list[Any], bool]] = [
    ({"min": {MEM: "100Mi"}}, 2, ({MEM: "60Mi"}, {}), [({MEM: "100Mi"}, {})], True),
    ({"min": {MEM: "100Mi"}}, 2, ({MEM: "60Mi"}, {MEM: "100Mi"}),
     [({MEM: "80Mi"}, {MEM: "100Mi"})], True),
    ({"max": {CPU: "2"}}, 2, ({CPU: "500m"}, {CPU: "1"}),
     [({CPU: "1"}, {CPU: "2"}), ({CPU: "1"}, {CPU: "1"})], True),
    ({"max": {CPU: "2"}}, 2, ({}, {CPU: "1"}), [({}, {CPU: "2"}), ({}, {CPU: "2"})], True),
    ({"max": {MEM: "1Gi"}}, 1, ({}, {MEM: "500Mi"}), [({}, {MEM: "1.5Gi"})], False),
    ({"max": {DISK: "1Gi"}}, 1, ({}, {DISK: "500Mi"}), [({}, {DISK: "1.5Gi"})], False),
]  # fmt: skip


def containers(count: int, *resources: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"foo-{index}", "resources": {"requests": requests, "limits": limits}}
        for index, (requests, limits) in enumerate(resources * count)
    ]


@pytest.mark.parametrize(("bounds", "count", "each", "initial", "may"), INITIAL)
def test_of_init_containers_the_greediest_counts(bounds, count, each, initial, may):
    """They run one after the other, before the others."""
    spec = {"containers": containers(count, each), "initContainers": containers(1, *initial)}
    assert (limit_ranger.complaints(spec, [{"type": "Pod", **bounds}]) == []) == may


CLAIMS = [
    ({"min": "1Gi"}, "1Gi", True), ({"max": "1Gi"}, "1Gi", True), ({}, "100Gi", True),
    ({"min": "1Gi", "max": "10Gi"}, "5Gi", True), ({"min": "1Gi"}, "500Mi", False),
    ({"min": "1Gi", "max": "1Gi"}, "100Gi", False),
]  # fmt: skip


@pytest.mark.parametrize(("bounds", "size", "may"), CLAIMS)
def test_how_large_a_claim_may_be(simulate, bounds, size, may):
    """LimitRange of type PersistentVolumeClaim."""

    async def story(w):
        limits = {"type": "PersistentVolumeClaim", **{k: {"storage": v} for k, v in bounds.items()}}
        if bounds:
            body = {"metadata": {"name": "x"}, "spec": {"limits": [limits]}}
            await w.client.create(kinds.named("v1", "LimitRange"), body, "default")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        claim = {"metadata": {"name": "c"}, "spec": spec}
        at = kinds.PERSISTENT_VOLUME_CLAIM.path("default")
        told = (await w.json("POST", at, claim)).get("message", "")
        assert ("usage per PersistentVolumeClaim" in told) != may

    simulate(story)


def test_defaults_are_told_in_an_annotation():
    """As upstream words it, in the order of the containers; what is given is left alone."""
    item = {"type": "Container", "default": {CPU: "75m", MEM: "10Mi"},
            "defaultRequest": {CPU: "50m", MEM: "5Mi"}}  # fmt: skip

    def filled(requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
        container = {"name": "foo-0", "resources": {"requests": requests, "limits": limits}}
        pod: dict[str, Any] = {"metadata": {}, "spec": {"containers": [container]}}
        limit_ranger.fill(pod, [item])
        return pod

    def note(pod: dict[str, Any]) -> Any:
        return pod["metadata"].get("annotations", {}).get("kubernetes.io/limit-ranger")

    start = "LimitRanger plugin set: "
    assert note(filled({}, {})) == (
        f"{start}cpu, memory request for container foo-0; cpu, memory limit for container foo-0"
    )
    assert note(filled({MEM: "512Mi"}, {})) == (
        f"{start}cpu request for container foo-0; cpu, memory limit for container foo-0"
    )
    assert note(filled({CPU: "100m", MEM: "512Mi"}, {CPU: "200m", MEM: "1G"})) is None


ONE = {"port": 80}
PORTED = {"port": 80, "nodePort": 32001}


@pytest.mark.parametrize(
    ("spec", "balancers", "node_ports"),
    [
        ({"type": "LoadBalancer"}, 1, 0),
        ({"type": "LoadBalancer", "ports": [ONE]}, 1, 1),
        ({"type": "ClusterIP", "ports": [ONE]}, 0, 0),
        ({"type": "NodePort", "ports": [ONE]}, 0, 1),
        ({"type": "NodePort", "ports": [ONE, ONE]}, 0, 2),
        ({"type": "LoadBalancer", "ports": [ONE], "allocateLoadBalancerNodePorts": False}, 1, 0),
        ({"type": "LoadBalancer", "ports": [ONE, PORTED],
          "allocateLoadBalancerNodePorts": False}, 1, 1),
    ],
)  # fmt: skip
def test_what_a_service_uses_of_a_quota(spec, balancers, node_ports):
    """Node ports that will be allocated count; without allocation those that are named."""
    found = quotas.usage(kinds.SERVICE, {"spec": spec})
    assert found["services"] == quotas.NANO
    assert found.get("services.loadbalancers", 0) == balancers * quotas.NANO
    assert found.get("services.nodeports", 0) == node_ports * quotas.NANO


DONGLE, HUGE = "example.com/dongle", "hugepages-2Mi"
MANY = ({CPU: "4", MEM: "100M", DONGLE: "4"}, {CPU: "8", MEM: "200M", DONGLE: "4"})
SOME = ({CPU: "1", MEM: "50M", DONGLE: "2"}, {CPU: "2", MEM: "100M", DONGLE: "2"})
FEW = ({CPU: "1", MEM: "50M", DONGLE: "1"}, {CPU: "2", MEM: "100M", DONGLE: "1"})
REST = ({CPU: "2", MEM: "25M", DONGLE: "2"}, {CPU: "5", MEM: "50M", DONGLE: "2"})
NOW_S = 1_700_000_000
EACH = [
    (({CPU: "1m"}, {CPU: "2m"}), "cpu=1m requests.cpu=1m limits.cpu=2m"),
    (({MEM: "1m"}, {MEM: "2m"}), "memory=1m requests.memory=1m limits.memory=2m"),
    (({DISK: "32Mi"}, {DISK: "64Mi"}),
     f"{DISK}=32Mi requests.{DISK}=32Mi limits.{DISK}=64Mi"),
    (({HUGE: "100Mi"}, {}), f"{HUGE}=100Mi requests.{HUGE}=100Mi"),
    (({DONGLE: "3"}, {DONGLE: "3"}), f"requests.{DONGLE}=3"),
]  # fmt: skip


def dying(since_s: int) -> dict[str, Any]:
    text = format_time((NOW_S - since_s) * 10**9)
    return {"deletionTimestamp": text, "deletionGracePeriodSeconds": 30}


GREEDIEST = (
    "pods=1 cpu=4 requests.cpu=4 limits.cpu=8 memory=100M requests.memory=100M "
    f"limits.memory=200M requests.{DONGLE}=4"
)
BOTH = ({CPU: "100m", MEM: "200Mi"}, {CPU: "200m", MEM: "400Mi"})


def given(cpu: str, memory: str) -> str:
    """What a pod with those requests uses."""
    much = f"pods=1 cpu={cpu} requests.cpu={cpu} memory={memory} requests.memory={memory}"
    return f"{much} limits.cpu=200m limits.memory=400Mi"


# a pod's spec, what else there is of it, and what it uses beside its place in the store
PODS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    *(({"containers": containers(1, each)}, {}, f"pods=1 {uses}") for each, uses in EACH),
    *(({"initContainers": containers(1, each)}, {}, f"pods=1 {uses}") for each, uses in EACH),
    ({"containers": containers(1, FEW)}, {"status": {"phase": "Succeeded"}}, ""),
    ({"initContainers": containers(1, MANY, SOME), "containers": containers(1, FEW, REST)}, {},
     GREEDIEST),
    ({"containers": containers(1, FEW)}, {"metadata": dying(60)}, ""),
    ({"containers": containers(1, ({CPU: "1"}, {CPU: "2"}))}, {"metadata": dying(0)},
     "pods=1 cpu=1 requests.cpu=1 limits.cpu=2"),
    ({"containers": containers(1, ({CPU: "1"}, {CPU: "2"})), "overhead": {CPU: "1"}}, {},
     "pods=1 cpu=2 requests.cpu=2 limits.cpu=3"),
    *(({"containers": containers(1, BOTH)},
       {"status": {"containerStatuses": [{"name": "foo-0", "allocatedResources": allocated}]}},
       given(*uses))
      for allocated, uses in (
          ({MEM: "150Mi"}, ("100m", "200Mi")), ({CPU: "150m"}, ("150m", "200Mi")),
          ({CPU: "150m", MEM: "250Mi"}, ("150m", "250Mi")), ({}, ("100m", "200Mi")))),
]  # fmt: skip


def amounts(text: str) -> dict[str, int]:
    pairs = (pair.split("=") for pair in text.split())
    return {name: quantity.parse(amount).nano for name, amount in pairs}


@pytest.mark.parametrize(("spec", "more", "uses"), PODS)
def test_what_a_pod_uses_of_a_quota(spec, more, uses):
    """What has ended, or should have, uses its place in the store only."""
    found = quotas.usage(kinds.POD, {"spec": spec, **more}, NOW_S * 10**9)
    assert found == amounts(f"count/pods=1 {uses}")


STORAGE = "requests.storage"
GOLD = "gold.storageclass.storage.k8s.io"
STORED: list[tuple[str, dict[str, Any], str, str]] = [
    ("10Gi", {}, "", f"{STORAGE}=10Gi"),
    ("10Gi", {"storageClassName": "gold"}, "",
     f"{STORAGE}=10Gi {GOLD}/{STORAGE}=10Gi {GOLD}/persistentvolumeclaims=1"),
    ("1001m", {}, "", f"{STORAGE}=2"),
    ("1001m", {"storageClassName": "gold"}, "",
     f"{STORAGE}=2 {GOLD}/{STORAGE}=2 {GOLD}/persistentvolumeclaims=1"),
    ("5G", {}, "10G", f"{STORAGE}=10G"),
    ("10G", {}, "5G", f"{STORAGE}=10G"),
]  # fmt: skip


@pytest.mark.parametrize(("size", "spec", "allocated", "uses"), STORED)
def test_what_a_claim_uses_of_a_quota(size, spec, allocated, uses):
    """By class, too; bytes are whole, and what an expansion has got already counts."""
    claim = {
        "spec": {**spec, "resources": {"requests": {"storage": size}}},
        "status": {"allocatedResources": {"storage": allocated}} if allocated else {},
    }
    start = "count/persistentvolumeclaims=1 persistentvolumeclaims=1"
    assert quotas.usage(kinds.PERSISTENT_VOLUME_CLAIM, claim) == amounts(f"{start} {uses}")


def affine(name: str, term: dict[str, Any]) -> dict[str, Any]:
    when = "DuringSchedulingIgnoredDuringExecution"
    preferred = [{"weight": 1, "podAffinityTerm": term}]
    return {"activeDeadlineSeconds": 30, "affinity": {name: {f"preferred{when}": preferred}}}


def strictly(name: str, term: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"activeDeadlineSeconds": 30, "affinity": {name: required}}


ALL = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
       "CrossNamespacePodAffinity")  # fmt: skip
ACROSS = "Terminating BestEffort CrossNamespacePodAffinity"
SCOPES = [
    ({}, "NotTerminating BestEffort"),
    ({"priorityClassName": "class1"}, "NotTerminating BestEffort PriorityClass"),
    ({"containers": containers(1, SOME)}, "NotTerminating NotBestEffort"),
    ({"activeDeadlineSeconds": 30}, "Terminating BestEffort"),
    (strictly("podAffinity", {"namespaces": ["ns1"], "namespaceSelector": {}}), ACROSS),
    (strictly("podAffinity", {"namespaces": ["ns1"]}), ACROSS),
    (affine("podAffinity", {"namespaces": ["ns2"], "namespaceSelector": {}}), ACROSS),
    (affine("podAffinity", {"namespaceSelector": {}}), ACROSS),
    (affine("podAntiAffinity", {"namespaceSelector": {}}), ACROSS),
    (strictly("podAntiAffinity", {"namespaces": ["ns3"]}), ACROSS),
]


@pytest.mark.parametrize(("spec", "scopes"), SCOPES)
def test_which_scopes_a_pod_is_in(spec, scopes):
    """TestPodEvaluatorMatchingScopes."""
    which = {"PriorityClass": {"operator": "In", "values": ["class1"]}}
    found = [
        scope
        for scope in ALL
        if quotas.counts(
            {"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": scope, "operator": "Exists", **which.get(scope, {})}
            ]}}},
            kinds.POD, {"spec": spec},
        )
    ]  # fmt: skip
    assert found == scopes.split()


NAMED = [
    ([("dummy", {CPU: "1m"})], "initContainers", [MEM], "memory for: dummy"),
    ([("foo", {CPU: "1m"}), ("bar", {CPU: "1m"})], "initContainers", [MEM], "memory for: bar,foo"),
    ([("dummy", {CPU: "1m"})], "containers", [MEM], "memory for: dummy"),
    ([("foo", {CPU: "1m"}), ("bar", {CPU: "1m"})], "containers", [MEM], "memory for: bar,foo"),
    ([("foo", {}), ("bar", {})], "containers", [MEM, CPU], "cpu for: bar,foo; memory for: bar,foo"),
]


def test_who_is_bounded_must_say_how_much(simulate):
    """TestPodConstraintsFunc: every container that does not is named."""

    async def story(w):
        for number, (those, group, required, told) in enumerate(NAMED):
            name = f"ns{number}"
            for kind, namespace, body in (
                (kinds.NAMESPACE, "", {"metadata": {"name": name}}),
                (kinds.SERVICE_ACCOUNT, name, {"metadata": {"name": "default"}}),
                (kinds.RESOURCE_QUOTA, name, {
                    "metadata": {"name": "q"}, "spec": {"hard": dict.fromkeys(required, "10Gi")},
                }),
            ):  # fmt: skip
                await w.client.create(kind, body, namespace)
            made = [{"name": n, "image": "x", "resources": {"requests": r}} for n, r in those]
            whole = {CPU: "1m", MEM: "1Mi"}
            other = {"name": "other", "image": "x", "resources": {"requests": whole}}
            spec = {"containers": [other], group: made}
            pod = {"metadata": {"name": "p"}, "spec": spec}
            error = await w.refused(w.client.create(kinds.POD, pod, name))
            assert error.message.endswith(f"failed quota: q: must specify {told}")

    simulate(story)


def test_a_resized_pod_stays_within_its_ranges_and_quotas(simulate):
    """The subresource goes through both."""

    async def story(w):
        for kind, spec in (
            ("ResourceQuota", {"hard": {"requests.cpu": "300m"}}),
            ("LimitRange", {"limits": [{"type": "Container", "max": {CPU: "1"}}]}),
        ):
            body = {"metadata": {"name": "x"}, "spec": spec}
            await w.client.create(kinds.named("v1", kind), body, "default")
        container = {"name": "c", "image": "x",
                     "resources": {"requests": {CPU: "100m"}, "limits": {CPU: "500m"}}}  # fmt: skip
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
        await w.client.create(kinds.POD, pod, "default")

        async def resized(requests: str, limits: str) -> Any:
            resources = {"requests": {CPU: requests}, "limits": {CPU: limits}}
            patch = {"spec": {"containers": [{"name": "c", "resources": resources}]}}
            at = kinds.POD.path("default", "p") + "/resize"
            kind = "application/strategic-merge-patch+json"
            return (await w.json("PATCH", at, patch, content_type=kind)).get("message", "resized")

        assert await resized("400m", "500m") == (
            'pods "p" is forbidden: exceeded quota: x, requested: requests.cpu=300m, '
            "used: requests.cpu=100m, limited: requests.cpu=300m"
        )
        assert await resized("200m", "2") == (
            'pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
        )
        assert await resized("200m", "600m") == "resized"

    simulate(story)
