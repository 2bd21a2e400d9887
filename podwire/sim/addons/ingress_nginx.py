"""ingress-nginx: Namespace, ServiceAccount, IngressClass, Service, Deployment.

Source of the shape: ingress-nginx v1.15.1 deploy/static/provider/baremetal. Ingresses show the
address of the controller's node; its NodePorts answer there. Left out: ConfigMap and the
validating webhook with its Jobs (not modelled), and the readiness probe's ten seconds of delay
(the model has nothing to warm up).
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons import rbac
from podwire.sim.settings import ClusterSettings

IMAGE = "registry.k8s.io/ingress-nginx/controller:v1.15.1"
NAMESPACE = "ingress-nginx"
NAME = "ingress-nginx-controller"
CONTROLLER = "k8s.io/ingress-nginx"
_SELECTOR = {
    "app.kubernetes.io/component": "controller",
    "app.kubernetes.io/instance": "ingress-nginx",
    "app.kubernetes.io/name": "ingress-nginx",
}
_LABELS = {
    **_SELECTOR,
    "app.kubernetes.io/part-of": "ingress-nginx",
    "app.kubernetes.io/version": "1.15.1",
}


def objects(settings: ClusterSettings) -> list[JSON]:
    """The addon's objects."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"app.kubernetes.io/name": NAMESPACE}},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "ingress-nginx", "namespace": NAMESPACE, "labels": _LABELS},
        },
        *_rights(),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "nginx", "labels": _LABELS},
            "spec": {"controller": CONTROLLER},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
            "spec": {
                "type": "NodePort",
                "ipFamilies": ["IPv6" if settings.six else "IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "selector": _SELECTOR,
                "ports": [
                    {
                        "name": name,
                        "appProtocol": name,
                        "port": port,
                        "protocol": "TCP",
                        "targetPort": name,
                    }
                    for name, port in (("http", 80), ("https", 443))
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
            "spec": {
                "selector": {"matchLabels": _SELECTOR},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "template": {
                    "metadata": {"labels": _LABELS},
                    "spec": {
                        "serviceAccountName": "ingress-nginx",
                        "terminationGracePeriodSeconds": 300,
                        "nodeSelector": {"kubernetes.io/os": "linux"},
                        "containers": [_container(settings)],
                    },
                },
            },
        },
    ]


def _rights() -> list[JSON]:
    """What the controller may do in the cluster, and in its own namespace."""
    net, slices, leases = "networking.k8s.io", "discovery.k8s.io", "coordination.k8s.io"
    read, watch = ("get", "list", "watch"), ("list", "watch")
    everywhere = [
        rbac.rule(
            [""], ["configmaps", "endpoints", "nodes", "pods", "secrets", "namespaces"], watch
        ),
        rbac.rule([leases], ["leases"], watch),
        rbac.rule([""], ["nodes"], ["get"]),
        rbac.rule([""], ["services"], read),
        rbac.rule([net], ["ingresses", "ingressclasses"], read),
        rbac.rule(["", "events.k8s.io"], ["events"], ["create", "patch"]),
        # Upstream updates the status; this one patches it.
        rbac.rule([net], ["ingresses/status"], ["update", "patch"]),
        rbac.rule([slices], ["endpointslices"], read),
    ]
    own = [
        rbac.rule([""], ["namespaces"], ["get"]),
        rbac.rule([""], ["configmaps", "pods", "secrets", "endpoints", "services"], read),
        rbac.rule([net], ["ingresses", "ingressclasses"], read),
        rbac.rule([net], ["ingresses/status"], ["update", "patch"]),
        rbac.rule([leases], ["leases"], ["create", "get", "update"]),
        rbac.rule(["", "events.k8s.io"], ["events"], ["create", "patch"]),
        rbac.rule([slices], ["endpointslices"], read),
    ]
    name, subjects = "ingress-nginx", [rbac.account("ingress-nginx", NAMESPACE)]
    return [
        rbac.role(name, own, NAMESPACE, labels=_LABELS),
        rbac.role(name, everywhere, labels=_LABELS),
        rbac.binding(name, name, subjects, NAMESPACE, labels=_LABELS),
        rbac.binding(name, name, subjects, labels=_LABELS),
    ]


def _container(settings: ClusterSettings) -> JSON:
    # With the fast profile pods are Ready within milliseconds, and so are their routes.
    fast = ["--sync-rate-limit=100"] if settings.time_profile == "fast" else []
    probe: JSON = {
        "httpGet": {"path": "/healthz", "port": 10254, "scheme": "HTTP"},
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
    }
    return {
        "name": "controller",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "/nginx-ingress-controller",
            "--election-id=ingress-nginx-leader",
            f"--controller-class={CONTROLLER}",
            "--ingress-class=nginx",
            *fast,
        ],
        "env": [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in (
                ("POD_NAME", "metadata.name"),
                ("POD_NAMESPACE", "metadata.namespace"),
            )
        ],
        "ports": [
            {"name": "http", "containerPort": 80, "protocol": "TCP"},
            {"name": "https", "containerPort": 443, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "90Mi"}},
        "livenessProbe": {**probe, "initialDelaySeconds": 10, "failureThreshold": 5},
        "readinessProbe": {**probe, "failureThreshold": 3},
    }
