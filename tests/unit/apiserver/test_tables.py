"""Server-side printing: what ``kubectl get`` shows. Source: pkg/printers/internalversion."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire.api import codec, kinds
from podwire.api.kinds import Kind
from podwire.apiserver.cache.entry import Entry, Splice
from podwire.apiserver.tables.columns import layout
from podwire.apiserver.tables.shapes import TableShape
from tests.samples import sample

STORED = [
    kind for kind in kinds.ALL if kind not in (kinds.TRACE, *kinds.COMPUTED) and "get" in kind.verbs
]
HOUR_NS = 3600 * 10**9
CREATED = "1970-01-01T00:00:00Z"
TYPES = {"string": (str, int, bool), "integer": (int,), "boolean": (bool, str)}


def table(kind: Kind[Any], body: dict[str, Any]) -> dict[str, Any]:
    """The table of one object that is an hour old."""
    body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    body["metadata"] = {"creationTimestamp": CREATED, "name": "a", **body.get("metadata", {})}
    obj = codec.check(body, kind.api_version, kind.kind).obj
    stored = {key: obj[key] for key in ("apiVersion", "kind", "metadata")} | obj
    where = f"/{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
    entry = Entry(kind, Splice(kind), where, msgspec.json.encode(stored), 1)
    shape = TableShape("v1", "Metadata", lambda: HOUR_NS)
    found: dict[str, Any] = msgspec.json.decode(shape.one(entry))
    return found


def row(kind: Kind[Any], body: dict[str, Any]) -> list[Any]:
    """Its cells."""
    cells: list[Any] = table(kind, body)["rows"][0]["cells"]
    return cells


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.resource)
def test_a_row_has_a_cell_of_the_right_type_for_every_column(kind: Kind[Any]) -> None:
    """For the smallest object of each kind."""
    told = table(kind, sample(kind))
    cells = told["rows"][0]["cells"]
    assert len(cells) == len(told["columnDefinitions"])
    for column, cell in zip(told["columnDefinitions"], cells, strict=True):
        assert isinstance(cell, TYPES[column["type"]]), (column["name"], cell)


def test_every_kind_of_upstream_has_the_columns_that_upstream_has() -> None:
    """A few that are often mistaken; the rest stands in columns.py, one line each."""

    def names(api_version: str, kind: str) -> str:
        found = kinds.by_gvk(api_version, kind)
        assert found is not None
        return "|".join(column.name for column in layout(found).columns)

    assert names("rbac.authorization.k8s.io/v1", "Role") == "Name|Created At"
    assert names("v1", "LimitRange") == "Name|Created At"
    assert names("batch/v1", "CronJob").startswith("Name|Schedule|Timezone|Suspend|Active|")
    assert names("resource.k8s.io/v1", "DeviceClass") == "Name|Age"


JOB = {
    "spec": {"completions": 3, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    "status": {
        "succeeded": 1, "startTime": CREATED,
        "conditions": [{"type": "Suspended", "status": "True"}],
    },
}  # fmt: skip
CLAIM = {
    "spec": {"volumeName": "pv", "storageClassName": "fast", "volumeMode": "Block"},
    "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteMany"]},
}
QUOTA = {
    "status": {
        "hard": {"pods": "10", "limits.cpu": "2", "requests.cpu": "1"},
        "used": {"pods": "3", "limits.cpu": "500m"},
    }
}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}
AUTOSCALER = {
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1,
        "maxReplicas": 5, "metrics": [CPU],
    },
    "status": {
        "currentReplicas": 2,
        "currentMetrics": [
            {"type": "Resource",
             "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}
        ],
    },
}  # fmt: skip
CSR = {
    "spec": {"signerName": "a.b/c", "username": "jane", "expirationSeconds": 86400},
    "status": {"certificate": "YQ==", "conditions": [{"type": "Approved", "status": "True"}]},
}
EVENT = {
    "type": "Warning", "reason": "BackOff", "message": " x \n", "eventTime": None,
    "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"},
    "source": {"component": "kubelet", "host": "n1"}, "count": 4,
    "firstTimestamp": CREATED, "lastTimestamp": "1970-01-01T00:30:00Z",
}  # fmt: skip
SERIES = {
    "type": "Normal", "reason": "Pulled", "note": "hi", "eventTime": "1970-01-01T00:00:00.000000Z",
    "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "kubelet",
    "series": {"count": 7, "lastObservedTime": "1970-01-01T00:59:00.000000Z"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("api_version", "kind", "body", "cells"),
    [
        ("batch/v1", "Job", JOB, ["a", "Suspended", "1/3", "60m", "60m", "c", "i", "<none>"]),
        (
            "v1", "PersistentVolumeClaim", CLAIM,
            ["a", "Bound", "pv", "2Gi", "RWX", "fast", "<unset>", "60m", "Block"],
        ),
        (
            "v1", "ResourceQuota", QUOTA,
            ["a", "pods: 3/10, requests.cpu: 0/1", "limits.cpu: 500m/2", "60m"],
        ),
        (
            "autoscaling/v2", "HorizontalPodAutoscaler", AUTOSCALER,
            ["a", "Deployment/web", "cpu: 20%/80%", "1", 5, 2, "60m"],
        ),
        (
            "certificates.k8s.io/v1", "CertificateSigningRequest", CSR,
            ["a", "60m", "a.b/c", "jane", "24h", "Approved,Issued"],
        ),
        (
            "v1", "Event", EVENT,
            ["30m", "Warning", "BackOff", "pod/p", "spec", "kubelet, n1", "x", "60m", 4, "a"],
        ),
        (
            "events.k8s.io/v1", "Event", SERIES,
            ["60s", "Normal", "Pulled", "pod/p", "", "kubelet", "hi", "60m", 7, "a"],
        ),
        (
            "networking.k8s.io/v1", "IPAddress",
            {"spec": {"parentRef": {"resource": "services", "name": "web", "namespace": "d"}}},
            ["a", "services/d/web"],
        ),
        (
            "networking.k8s.io/v1", "Ingress",
            {"spec": {"rules": [{"host": f"{c}.org"} for c in "abcde"]}},
            ["a", "<none>", "a.org,b.org,c.org + 2 more...", "", "80", "60m"],
        ),
        (
            "storage.k8s.io/v1", "StorageClass",
            {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}},
            ["a (default)", "", "Delete", "Immediate", False, "60m"],
        ),
        (
            "flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration",
            {"spec": {"type": "Exempt"}},
            ["a", "Exempt", "<none>", "<none>", "<none>", "<none>", "60m"],
        ),
        (
            "resource.k8s.io/v1", "ResourceClaim",
            {"status": {"allocation": {}, "reservedFor": [{"name": "p"}]}},
            ["a", "allocated,reserved", "60m"],
        ),
    ],
)  # fmt: skip
def test_a_row(api_version: str, kind: str, body: dict[str, Any], cells: list[Any]) -> None:
    """Cells as upstream's printer fills them."""
    found = kinds.by_gvk(api_version, kind)
    assert found is not None
    assert row(found, body) == cells


def test_a_pod_with_a_sidecar_counts_it_and_its_restarts() -> None:
    """printPod: restartable init containers are containers."""
    sidecar = {"name": "s", "started": True, "ready": True, "restartCount": 2, "state": {}}
    done = {"name": "i", "restartCount": 5, "state": {"terminated": {"exitCode": 0}}}
    main = {"name": "c", "ready": True, "restartCount": 1, "state": {"running": {}}}
    body = {
        "spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "c"}],
            "readinessGates": [{"conditionType": "a/b"}],
        },
        "status": {
            "phase": "Running", "nominatedNodeName": "n",
            "initContainerStatuses": [done, sidecar], "containerStatuses": [main],
        },
    }  # fmt: skip
    assert row(kinds.POD, body) == [
        "a", "2/2", "Running", "3", "60m", "<none>", "<none>", "n", "0/1",
    ]  # fmt: skip


def test_a_row_of_a_pod_that_ended_says_so() -> None:
    """kubectl get --watch and -o wide rely on it."""
    told = table(kinds.POD, {"status": {"phase": "Succeeded"}})
    assert told["rows"][0]["conditions"] == [
        {
            "type": "Completed",
            "status": "True",
            "reason": "Succeeded",
            "message": "The pod has completed successfully.",
        }
    ]


def test_any_of_upstreams_objects_can_be_printed() -> None:
    """Objects with every field set, from kubernetes/api testdata (set PODWIRE_TESTDATA)."""
    folder = os.environ.get("PODWIRE_TESTDATA")
    if not folder:
        pytest.skip("PODWIRE_TESTDATA is not set")
    printed = 0
    for kind in STORED:
        path = Path(folder) / f"{kind.group or 'core'}.{kind.version}.{kind.kind}.json"
        if path.exists():
            assert len(row(kind, json.loads(path.read_text()))) == len(layout(kind).columns)
            printed += 1
    assert printed > 60


def test_an_api_service_says_who_serves_it():
    """Source: kube-aggregator pkg/registry/apiservice/etcd."""
    kind = kinds.by_gvk("apiregistration.k8s.io/v1", "APIService")
    spec = {"groupPriorityMinimum": 1, "versionPriority": 1, "version": "v1"}
    local = {"type": "Available", "status": "True", "reason": "Local"}
    assert row(kind, {"spec": spec, "status": {"conditions": [local]}}) == [
        "a", "Local", "True", "60m",
    ]  # fmt: skip
    spec["service"] = {"namespace": "x", "name": "y"}
    lost = {"type": "Available", "status": "False", "reason": "ServiceNotFound"}
    assert row(kind, {"spec": spec, "status": {"conditions": [lost]}}) == [
        "a", "x/y", "False (ServiceNotFound)", "60m",
    ]  # fmt: skip
