"""What quotas count, and which slices mirror Endpoints."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.quotas import NANO
from podwire.api.views import Endpoints, EndpointSlice, Pod, ResourceQuota, Service
from podwire.client.effects import Create, Delete, Emit, Patch
from podwire.controllers.endpointslicemirroring import core as mirror
from podwire.controllers.resourcequota import core as quota
from tests.unit.controllers.upstream import Case, cases


def bounds(hard: dict[str, str], status: dict[str, Any] | None = None) -> ResourceQuota:
    body = {
        "metadata": {"name": "q", "namespace": "default", "uid": "q"},
        "spec": {"hard": hard},
        "status": status or {},
    }
    return msgspec.convert(body, ResourceQuota)


def pod(cpu: str, phase: str = "Running") -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container]},
            "status": {"phase": phase}}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("pods", kinds.POD, True),
        ("requests.cpu", kinds.POD, True),
        ("limits.nvidia.com/gpu", kinds.POD, True),
        ("requests.storage", kinds.POD, False),
        ("count/pods", kinds.POD, True),
        ("services.nodeports", kinds.SERVICE, True),
        ("services", kinds.CONFIG_MAP, False),
        ("count/deployments.apps", kinds.DEPLOYMENT, True),
        ("pods", kinds.DEPLOYMENT, False),
        ("gold.storageclass.storage.k8s.io/requests.storage",
         kinds.named("v1", "PersistentVolumeClaim"), True),
    ],
)  # fmt: skip
def test_a_quota_counts_only_the_kinds_that_it_bounds(name: str, kind: Any, counts: bool) -> None:
    """By the names of its hard limits."""
    assert quota.concerns(bounds({name: "1"}), kind) is counts


def test_used_is_the_sum_over_what_still_runs():
    """A pod that has ended uses its place in the store only."""
    item = bounds({"pods": "5", "requests.cpu": "2", "count/pods": "9"})
    pods = [(kinds.POD, pod("250m")), (kinds.POD, pod("1")), (kinds.POD, pod("1", "Succeeded"))]
    total = quota.used(item, pods, 0)
    assert total == {"pods": 2 * NANO, "requests.cpu": 1_250_000_000, "count/pods": 3 * NANO}
    (patch,) = quota.reconcile(item, total)
    assert isinstance(patch, Patch)
    assert patch.patch["status"] == {
        "hard": {"pods": "5", "requests.cpu": "2", "count/pods": "9"},
        "used": {"count/pods": "3", "pods": "2", "requests.cpu": "1250m"},
    }


def test_a_status_that_is_right_is_left_alone():
    """And what is bounded no more is taken out of it."""
    status = {"hard": {"pods": "5"}, "used": {"pods": "1"}}
    assert quota.reconcile(bounds({"pods": "5"}, status), {"pods": NANO}) == []
    (patch,) = quota.reconcile(bounds({"services": "5"}, status), {"services": 0})
    assert isinstance(patch, Patch)
    assert patch.patch["status"]["used"] == {"pods": None, "services": "0"}


@pytest.mark.parametrize(
    ("before", "after", "matters"),
    [("Running", "Running", False), ("Running", "Failed", True), ("Pending", "Running", False)],
)
def test_a_pod_is_counted_anew_when_it_ends(before: str, after: str, matters: bool) -> None:
    """Not each time its status changes."""
    old, new = (msgspec.convert(pod("1", phase), Pod) for phase in (before, after))
    assert quota.matters(kinds.POD, old, new) is matters


# ---------------------------------------------------------------- mirroring


def endpoints(*ips: str, labels: dict[str, str] | None = None, **notes: str) -> Endpoints:
    body = {
        "metadata": {
            "name": "ext", "namespace": "default", "uid": "e", "labels": labels or {},
            "annotations": notes,
        },
        "subsets": [
            {
                "addresses": [{"ip": ip} for ip in ips],
                "notReadyAddresses": [{"ip": "10.0.0.9"}],
                "ports": [{"name": "db", "port": 5432}],
            }
        ],
    }  # fmt: skip
    return msgspec.convert(body, Endpoints)


def service(**selector: str) -> Service:
    body = {"metadata": {"name": "ext"}, "spec": {"selector": selector}}
    return msgspec.convert(body, Service)


def stored(create: Create) -> EndpointSlice:
    body = {**create.body, "metadata": {**create.body["metadata"], "name": "ext-1", "uid": "s"}}
    return msgspec.convert(body, EndpointSlice)


def test_each_family_has_a_slice_of_its_own():
    """Labels follow, ports and readiness too; the slice belongs to the Endpoints."""
    first, second = mirror.reconcile(
        endpoints("10.0.0.1", "fd00::1", labels={"a": "b"}), service(), []
    )
    assert isinstance(first, Create)
    assert isinstance(second, Create)
    assert [first.body["addressType"], second.body["addressType"]] == ["IPv4", "IPv6"]
    assert first.body["metadata"]["labels"] == {
        "a": "b",
        "kubernetes.io/service-name": "ext",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert first.body["endpoints"] == [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.9"], "conditions": {"ready": False}},
    ]
    assert first.body["ports"] == [{"name": "db", "protocol": "TCP", "port": 5432}]
    assert first.body["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_what_is_mirrored_already_is_left_alone_and_what_differs_is_rewritten():
    """One slice stays; another address changes it in place."""
    (create,) = mirror.reconcile(endpoints("10.0.0.1"), service(), [])
    assert isinstance(create, Create)
    there = stored(create)
    assert mirror.reconcile(endpoints("10.0.0.1"), service(), [there]) == []
    (patch,) = mirror.reconcile(endpoints("10.0.0.2"), service(), [there])
    assert isinstance(patch, Patch)
    assert patch.patch["endpoints"][0]["addresses"] == ["10.0.0.2"]


@pytest.mark.parametrize(
    ("item", "of"),
    [
        (None, service()),
        (endpoints("10.0.0.1"), None),
        (endpoints("10.0.0.1"), service(app="web")),
        (endpoints("10.0.0.1", labels={"endpointslice.kubernetes.io/skip-mirror": "true"}),
         service()),
    ],
)  # fmt: skip
def test_slices_of_what_is_not_mirrored_go(item: Endpoints | None, of: Service | None) -> None:
    """No Endpoints, no Service, a selector, or a label that forbids it."""
    (create,) = mirror.reconcile(endpoints("10.0.0.1"), service(), [])
    assert isinstance(create, Create)
    (gone,) = mirror.reconcile(item, of, [stored(create)])
    assert isinstance(gone, Delete)


def test_more_than_a_thousand_addresses_are_told_of():
    """The rest is not mirrored."""
    many = endpoints(*(f"10.1.{n // 250}.{n % 250}" for n in range(1005)))
    create, event = sorted(mirror.reconcile(many, service(), []), key=lambda e: type(e).__name__)
    assert isinstance(create, Create)
    assert isinstance(event, Emit)
    assert len(create.body["endpoints"]) == 1000
    assert event.reason == "TooManyAddressesToMirror"


@pytest.mark.parametrize("case", cases("resourcequota"), ids=lambda case: case["name"])
def test_a_quota_counts_as_upstreams_tests_do(case: Case) -> None:
    """TestSyncResourceQuota: the status after one pass over the objects of one kind."""
    meta = {"name": "quota", "namespace": "testing", "uid": "q"}
    body = {"metadata": meta, "spec": case["spec"], "status": case.get("status", {})}
    found = msgspec.convert(body, ResourceQuota)
    objects = [(kinds.POD, item) for item in case["items"]] if "items" in case else []
    used = quota.used(found, objects, 0)
    status = {name: dict(case.get("status", {}).get(name, {})) for name in ("hard", "used")}
    for effect in quota.reconcile(found, used):
        assert isinstance(effect, Patch)
        for name, values in effect.patch["status"].items():
            status[name].update(values)
    shown = {
        name: {key: value for key, value in values.items() if value is not None}
        for name, values in status.items()
    }
    assert shown == {"hard": case["hard"], "used": case["used"]}
