"""Namespaces, default/kubernetes, and the ServiceAccounts of kube-system."""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.settings import API_PORT, ClusterSettings

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def objects(settings: ClusterSettings) -> list[JSON]:
    """Source: kube-apiserver's systemnamespaces and kubernetesservice controllers."""
    server = settings.control_plane_address
    ports = [{"name": "https", "port": API_PORT, "protocol": "TCP"}]
    return [
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in NAMESPACES
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": settings.kubernetes_address,
                "ports": [{"name": "https", "port": 443, "targetPort": API_PORT}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": server}], "ports": ports}],
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv6" if settings.six else "IPv4",
            "endpoints": [{"addresses": [server], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


def service_account(name: str) -> JSON:
    """A ServiceAccount of kube-system."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": "kube-system"},
    }


def config_map(name: str, data: dict[str, str], labels: dict[str, str] | None = None) -> JSON:
    """A ConfigMap of kube-system."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels or {}},
        "data": data,
    }


def daemon_set(name: str, labels: dict[str, str], pod_spec: JSON) -> JSON:
    """A DaemonSet of kube-system for an agent that runs on every node, ready or not."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "hostNetwork": True,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{"operator": "Exists"}],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    **pod_spec,
                },
            },
        },
    }


NODE_NAME_ENV: JSON = {
    "name": "NODE_NAME",
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
}
"""The downward API's node name, as every node agent wants it."""
