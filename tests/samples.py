"""A small valid object of every kind that can be stored, as a client would write it."""

from __future__ import annotations

import base64
import copy
from typing import Any

from podwire.api.kinds import Kind

CONTAINER = {"name": "web", "image": "nginx:1"}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": {"app": "web"}}
WORKLOAD = {"spec": {"selector": SELECTOR, "template": TEMPLATE}}
JOB = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
HTTP = {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]}
ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
STORAGE = {"requests": {"storage": "1Gi"}}
PEM = b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
HOOK = {
    "name": "check.example.com",
    "clientConfig": {"url": "https://example.com/check"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
RULE = {
    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
}  # fmt: skip
AUTOSCALER = {
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "maxReplicas": 3,
    }
}
DEVICES = {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}

_ADMISSION = "admissionregistration.k8s.io/v1"
_BODIES: dict[str, dict[str, Any]] = {
    "apiextensions.k8s.io/v1/CustomResourceDefinition": {
        "metadata": {"name": "tests.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "tests", "kind": "Test"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    },
    "v1/Pod": {"spec": {"containers": [CONTAINER]}},
    "v1/PodTemplate": {"template": TEMPLATE},
    "v1/ReplicationController": {"spec": {"template": TEMPLATE}},
    "v1/Service": {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    "v1/Endpoints": {"subsets": [{"addresses": [{"ip": "10.244.0.2"}], "ports": [{"port": 80}]}]},
    "v1/ConfigMap": {"data": {"key": "value"}},
    "v1/Secret": {"data": {"key": "dmFsdWU="}},
    "v1/Event": {"involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"}},
    "v1/Node": {"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}},
    "v1/LimitRange": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}},
    "v1/ResourceQuota": {"spec": {"hard": {"pods": "10"}}},
    "v1/PersistentVolume": {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/data"},
        }
    },
    "v1/PersistentVolumeClaim": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": STORAGE}
    },
    "apps/v1/Deployment": WORKLOAD,
    "apps/v1/ReplicaSet": WORKLOAD,
    "apps/v1/StatefulSet": WORKLOAD,
    "apps/v1/DaemonSet": WORKLOAD,
    "apps/v1/ControllerRevision": {"data": {"a": 1}, "revision": 1},
    "autoscaling/v1/HorizontalPodAutoscaler": AUTOSCALER,
    "autoscaling/v2/HorizontalPodAutoscaler": AUTOSCALER,
    "batch/v1/Job": {"spec": JOB},
    "batch/v1/CronJob": {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": JOB}}},
    "certificates.k8s.io/v1/CertificateSigningRequest": {
        "spec": {
            "request": base64.b64encode(PEM).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        }
    },
    "coordination.k8s.io/v1/Lease": {"spec": {"leaseDurationSeconds": 40}},
    "discovery.k8s.io/v1/EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.2"]}],
        "ports": [{"port": 80}],
    },
    "networking.k8s.io/v1/NetworkPolicy": {"spec": {"ingress": [{"ports": [{"port": 80}]}]}},
    "networking.k8s.io/v1/Ingress": {"spec": {"rules": [{"host": "a.org", "http": HTTP}]}},
    "networking.k8s.io/v1/IngressClass": {"spec": {"controller": "example.com/ingress"}},
    "networking.k8s.io/v1/ServiceCIDR": {"spec": {"cidrs": ["10.97.0.0/24"]}},
    "networking.k8s.io/v1/IPAddress": {
        "metadata": {"name": "10.96.0.77"},
        "spec": {"parentRef": {"resource": "services", "name": "web", "namespace": "default"}},
    },
    "node.k8s.io/v1/RuntimeClass": {"handler": "runc"},
    "policy/v1/PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": SELECTOR}},
    "rbac.authorization.k8s.io/v1/RoleBinding": {"roleRef": ROLE_REF},
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {"roleRef": ROLE_REF},
    "scheduling.k8s.io/v1/PriorityClass": {"value": 100},
    "storage.k8s.io/v1/StorageClass": {"provisioner": "example.com/disk"},
    "storage.k8s.io/v1/VolumeAttributesClass": {
        "driverName": "example.com", "parameters": {"iops": "100"},
    },
    "storage.k8s.io/v1/VolumeAttachment": {
        "spec": {
            "attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"},
        }
    },
    "storage.k8s.io/v1/CSIStorageCapacity": {"storageClassName": "fast"},
    f"{_ADMISSION}/ValidatingWebhookConfiguration": {"webhooks": [HOOK]},
    f"{_ADMISSION}/MutatingWebhookConfiguration": {"webhooks": [HOOK]},
    f"{_ADMISSION}/ValidatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": {"resourceRules": [RULE]},
            "validations": [{"expression": "true"}],
        }
    },
    f"{_ADMISSION}/ValidatingAdmissionPolicyBinding": {
        "spec": {"policyName": "p", "validationActions": ["Deny"]}
    },
    f"{_ADMISSION}/MutatingAdmissionPolicy": {
        "spec": {
            "matchConstraints": {"resourceRules": [RULE]},
            "reinvocationPolicy": "Never",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/kind', value: 1}]"},
                },
            ],
        }
    },
    f"{_ADMISSION}/MutatingAdmissionPolicyBinding": {"spec": {"policyName": "p"}},
    "apiregistration.k8s.io/v1/APIService": {
        "metadata": {"name": "v1.example.com"},
        "spec": {
            "group": "example.com", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 100,
        },
    },
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": {
        "spec": {"priorityLevelConfiguration": {"name": "global-default"}}
    },
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": {
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    },
    "resource.k8s.io/v1/ResourceClaim": {"spec": {"devices": DEVICES}},
    "resource.k8s.io/v1/ResourceClaimTemplate": {"spec": {"spec": {"devices": DEVICES}}},
    "resource.k8s.io/v1/ResourceSlice": {
        "spec": {
            "driver": "example.com", "nodeName": "n",
            "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
        }
    },
}  # fmt: skip


def sample(kind: Kind[Any], name: str = "a", namespace: str = "default") -> dict[str, Any]:
    """A new body of the kind; its name is ``name`` unless the kind prescribes one."""
    body = copy.deepcopy(_BODIES.get(f"{kind.api_version}/{kind.kind}", {}))
    metadata = {"name": name, **body.get("metadata", {})}
    if kind.namespaced:
        metadata["namespace"] = namespace
    return {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": metadata}
