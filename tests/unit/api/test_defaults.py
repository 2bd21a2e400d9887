"""Defaults: objects as ``kubectl get -o yaml`` shows them on a real cluster."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from podwire.api import codec, defaults, kinds
from podwire.api.defaults import pod, service
from podwire.api.qos import qos_class
from tests.samples import sample

STORED = [kind for kind in kinds.ALL if kind is not kinds.TRACE and "get" in kind.verbs]


def defaulted(kind: kinds.Kind[Any], body: dict[str, Any]) -> dict[str, Any]:
    obj = codec.decode("", json.dumps(body).encode(), kind, codec.STRICT).obj
    defaults.apply(kind, obj)
    once = copy.deepcopy(obj)
    defaults.apply(kind, obj)
    assert obj == once, "defaulting twice must change nothing more"
    return obj


def test_a_pod_as_a_cluster_shows_it() -> None:
    """The whole spec, as after ``kubectl run`` (admission's additions aside)."""
    obj = defaulted(
        kinds.POD,
        {
            "metadata": {"name": "web"},
            "spec": {
                "serviceAccountName": "default",
                "containers": [
                    {
                        "name": "web",
                        "image": "nginx:1.29",
                        "ports": [{"containerPort": 80}],
                        "env": [
                            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
                        ],
                        "resources": {"limits": {"cpu": "1"}},
                        "readinessProbe": {"httpGet": {"port": 80}},
                    }
                ],
                "volumes": [{"name": "tmp"}, {"name": "cm", "configMap": {"name": "c"}}],
            },
        },
    )
    assert obj["spec"] == {
        "containers": [
            {
                "name": "web",
                "image": "nginx:1.29",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [
                    {
                        "name": "IP",
                        "valueFrom": {
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}
                        },
                    }
                ],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "readinessProbe": {
                    "failureThreshold": 3,
                    "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "timeoutSeconds": 1,
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "cm", "configMap": {"name": "c", "defaultMode": 420}},
        ],
    }
    assert obj["status"] == {}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"), ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0", "IfNotPresent"), ("nginx:latest@sha256:0", "Always"),
    ],
)  # fmt: skip
def test_latest_images_are_always_pulled(image: str, policy: str) -> None:
    """And so are images without tag."""
    assert pod.pull_policy(image) == policy


def test_host_network_pods_take_their_ports_on_the_host() -> None:
    """hostPort defaults to containerPort, for pods only."""
    spec = {
        "hostNetwork": True,
        "containers": [{"name": "a", "image": "b:1", "ports": [{"containerPort": 53}]}],
    }
    obj = defaulted(kinds.POD, {"spec": spec})
    assert obj["spec"]["containers"][0]["ports"][0]["hostPort"] == 53
    template = defaulted(kinds.DAEMON_SET, {"spec": {"template": {"spec": spec}}})["spec"][
        "template"
    ]
    assert "hostPort" not in template["spec"]["containers"][0]["ports"][0]
    assert "enableServiceLinks" not in template["spec"]


def test_a_deployment_rolls_by_a_quarter() -> None:
    """And its template gets a pod's defaults."""
    obj = defaulted(
        kinds.DEPLOYMENT, {"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}}
    )
    spec = obj["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    recreate = defaulted(
        kinds.DEPLOYMENT, {"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}
    )
    assert recreate["spec"]["strategy"] == {"type": "Recreate"}
    assert recreate["spec"]["replicas"] == 0


def test_other_workloads_have_their_own_habits() -> None:
    """StatefulSet, DaemonSet, ReplicaSet, Job."""
    sts = defaulted(kinds.STATEFUL_SET, {})["spec"]
    rolling = {"partition": 0, "maxUnavailable": 1}
    assert sts["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    assert sts["podManagementPolicy"] == "OrderedReady"
    assert sts["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    daemon = defaulted(kinds.DAEMON_SET, {})["spec"]
    assert daemon["updateStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert defaulted(kinds.REPLICA_SET, {})["spec"]["replicas"] == 1
    job = defaulted(kinds.JOB, {})["spec"]
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (1, 1, 6)


def test_a_service_targets_its_own_port_within_the_cluster() -> None:
    """A ClusterIP Service as a cluster shows it, its address and families aside."""
    obj = defaulted(kinds.SERVICE, {"spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}})
    assert obj["spec"] == {
        "type": "ClusterIP",
        "selector": {"a": "b"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }
    assert obj["status"] == {"loadBalancer": {}}


def test_exposed_and_sticky_services() -> None:
    """externalTrafficPolicy, allocateLoadBalancerNodePorts, three hours of affinity."""
    spec = defaulted(
        kinds.SERVICE,
        {"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "clusterIP": "10.96.0.9"}},
    )["spec"]
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert spec["clusterIPs"] == ["10.96.0.9"]
    name = defaulted(kinds.SERVICE, {"spec": {"type": "ExternalName", "externalName": "x.org"}})[
        "spec"
    ]
    assert name == {"type": "ExternalName", "externalName": "x.org", "sessionAffinity": "None"}


def test_an_update_keeps_what_was_allocated() -> None:
    """kubectl replace sends a Service without clusterIP and nodePort."""
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30080}]
    old = {
        "spec": {
            "type": "NodePort",
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
            "ports": ports,
        }
    }
    new: dict[str, Any] = {"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}}
    service.keep_allocated(new, old)
    assert new["spec"]["clusterIP"] == "10.96.0.9"
    assert [p.get("nodePort") for p in new["spec"]["ports"]] == [30080, None]
    plain: dict[str, Any] = {"spec": {"type": "ClusterIP", "ports": copy.deepcopy(ports)}}
    service.keep_allocated(plain, old)
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert plain["spec"]["clusterIPs"] == ["10.96.0.9"]


def test_a_change_of_type_drops_what_the_new_type_cannot_have() -> None:
    """kubectl patch changes the type only and does not know what came with it."""
    old = {"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}}
    old["spec"]["allocateLoadBalancerNodePorts"] = True  # type: ignore[assignment]
    new = copy.deepcopy(old)
    new["spec"]["type"] = "ClusterIP"
    service.keep_allocated(new, old)
    assert new["spec"] == {"type": "ClusterIP"}
    asked = {"spec": {"type": "ClusterIP", "externalTrafficPolicy": "Local"}}
    service.keep_allocated(asked, old)
    assert asked["spec"]["externalTrafficPolicy"] == "Local"


def test_small_kinds() -> None:
    """Namespace, Secret, NetworkPolicy, EndpointSlice, RoleBinding, Node."""
    namespace = defaulted(kinds.NAMESPACE, {"metadata": {"name": "shop"}})
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert namespace["status"] == {"phase": "Active"}
    secret = defaulted(kinds.SECRET, {"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "eA=="}})
    assert secret["data"] == {"a": "Yg==", "c": "eA=="}
    assert secret["type"] == "Opaque"
    assert "stringData" not in secret
    policy = defaulted(kinds.NETWORK_POLICY, {"spec": {"egress": [{"ports": [{"port": 53}]}]}})[
        "spec"
    ]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == [{"ports": [{"port": 53, "protocol": "TCP"}]}]
    assert policy["podSelector"] == {}
    endpoint_slice = defaulted(kinds.ENDPOINT_SLICE, {"ports": [{"port": 80}]})
    assert endpoint_slice["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    binding = defaulted(
        kinds.ROLE_BINDING,
        {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]},
    )
    assert (
        binding["roleRef"]["apiGroup"]
        == binding["subjects"][0]["apiGroup"]
        == "rbac.authorization.k8s.io"
    )
    node = defaulted(
        kinds.NODE, {"spec": {"podCIDR": "10.244.0.0/24"}, "status": {"capacity": {"cpu": "2"}}}
    )
    assert node["spec"]["podCIDRs"] == ["10.244.0.0/24"]
    assert node["status"]["allocatable"] == {"cpu": "2"}


BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": BOTH, "requests": {**BOTH, "cpu": "1000m"}}, "Guaranteed"),
    ],
)  # fmt: skip
def test_the_quality_of_service_class_follows_from_the_resources(resources, expected: str) -> None:
    """Equal requests and limits guarantee; nothing at all means best effort."""
    assert qos_class({"containers": [{"resources": resources}]}) == expected


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.resource)
def test_defaulting_twice_changes_nothing_more(kind: kinds.Kind[Any]) -> None:
    """For the smallest object of every kind."""
    defaulted(kind, sample(kind))


def test_upstreams_fullest_objects_are_defaulted_once() -> None:
    """Objects with every field set, from kubernetes/api testdata (set PODWIRE_TESTDATA)."""
    folder = os.environ.get("PODWIRE_TESTDATA")
    if not folder:
        pytest.skip("PODWIRE_TESTDATA is not set")
    seen = 0
    for kind in STORED:
        path = Path(folder) / f"{kind.group or 'core'}.{kind.version}.{kind.kind}.json"
        if path.exists():
            defaulted(kind, json.loads(path.read_text()))
            seen += 1
    assert seen > 60


def test_a_job_as_a_cluster_shows_it() -> None:
    """batch/v1 defaults.go; the selector is the registry's."""
    obj = defaulted(
        kinds.JOB,
        {"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}},
    )
    assert obj["metadata"]["labels"] == {"a": "b"}
    del obj["spec"]["template"]
    assert obj["spec"] == {
        "backoffLimit": 6, "completionMode": "NonIndexed", "completions": 1, "parallelism": 1,
        "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed", "suspend": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("api_version", "kind", "body", "path", "expected"),
    [
        ("batch/v1", "CronJob", {}, "spec.concurrencyPolicy", "Allow"),
        ("batch/v1", "CronJob", {}, "spec.successfulJobsHistoryLimit", 3),
        ("autoscaling/v2", "HorizontalPodAutoscaler", {}, "spec.minReplicas", 1),
        (
            "autoscaling/v2", "HorizontalPodAutoscaler",
            {"spec": {"behavior": {"scaleUp": {"selectPolicy": "Min"}}}},
            "spec.behavior.scaleDown.policies",
            [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        ),
        ("v1", "PersistentVolume", {}, "spec.persistentVolumeReclaimPolicy", "Retain"),
        ("v1", "PersistentVolumeClaim", {}, "spec.volumeMode", "Filesystem"),
        (
            "v1", "LimitRange",
            {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}},
            "spec.limits.0.defaultRequest", {"cpu": "2"},
        ),
        (
            "v1", "ReplicationController",
            {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}, "spec.selector",
            {"a": "b"},
        ),
        ("storage.k8s.io/v1", "StorageClass", {}, "volumeBindingMode", "Immediate"),
        ("storage.k8s.io/v1", "CSIDriver", {}, "spec.volumeLifecycleModes", ["Persistent"]),
        ("scheduling.k8s.io/v1", "PriorityClass", {}, "preemptionPolicy", "PreemptLowerPriority"),
        (
            "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration",
            {"webhooks": [{"rules": [{}]}]}, "webhooks.0.rules.0.scope", "*",
        ),
        (
            "flowcontrol.apiserver.k8s.io/v1", "FlowSchema", {}, "spec.matchingPrecedence", 1000,
        ),
        (
            "resource.k8s.io/v1", "ResourceClaim",
            {"spec": {"devices": {"requests": [{"name": "a", "exactly": {}}]}}},
            "spec.devices.requests.0.exactly.count", 1,
        ),
        (
            "networking.k8s.io/v1", "IngressClass", {"spec": {"parameters": {"kind": "K"}}},
            "spec.parameters.scope", "Cluster",
        ),
    ],
)  # fmt: skip
def test_a_default_of_a_kind(
    api_version: str, kind: str, body: dict[str, Any], path: str, expected: Any
) -> None:
    """Source: pkg/apis/*/v1/defaults.go."""
    found = kinds.by_gvk(api_version, kind)
    assert found is not None
    value: Any = defaulted(found, body)
    for part in path.split("."):
        value = value[int(part) if part.isdigit() else part]
    assert value == expected
