"""LimitRanger and ResourceQuota held to cases of upstream's own tables.

Facts from kubernetes plugin/pkg/admission/limitranger/admission_test.go (TestPodLimitFunc) and
pkg/quota/v1/evaluator/core (services_test.go, pods_test.go).
"""

from __future__ import annotations

from typing import Any

import pytest

from podwire.api import kinds, quotas
from podwire.apiserver.admission import limit_ranger

CPU, MEM = "cpu", "memory"

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
]  # fmt: skip


@pytest.mark.parametrize(("type_", "bounds", "count", "requests", "limits", "may"), RANGES)
def test_what_a_range_lets_in(type_, bounds, count, requests, limits, may):
    """Containers one by one, or pods by the sum of theirs."""
    resources = {"requests": requests, "limits": limits}
    spec = {"containers": [{"name": f"foo-{i}", "resources": resources} for i in range(count)]}
    found = limit_ranger.complaints(spec, [{"type": type_, **bounds}])
    assert (found == []) == may


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
