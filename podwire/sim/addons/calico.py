"""Calico's policy agent beside flannel's wiring (the arrangement once called Canal).

Source of its rights: projectcalico/calico manifests/calico.yaml, less its own API groups.
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons import rbac
from podwire.sim.addons.base import NODE_NAME_ENV, daemon_set, service_account

_WATCH = ("list", "watch")
IMAGE = "quay.io/calico/node:v3.32.0"


def objects() -> list[JSON]:
    """The addon's objects."""
    return [
        service_account("calico-node"),
        rbac.role(
            "calico-node",
            [
                rbac.rule([""], ["nodes", "namespaces", "configmaps"], ["get"]),
                rbac.rule([""], ["pods", "nodes", "namespaces", "serviceaccounts"], _WATCH),
                rbac.rule([""], ["endpoints", "services"], ["get", "list", "watch"]),
                rbac.rule(["discovery.k8s.io"], ["endpointslices"], _WATCH),
                rbac.rule(["networking.k8s.io"], ["networkpolicies"], _WATCH),
                rbac.rule([""], ["nodes/status"], ["patch", "update"]),
                rbac.rule([""], ["pods/status"], ["patch"]),
            ],
        ),
        rbac.binding("calico-node", "calico-node", [rbac.account("calico-node")]),
        daemon_set(
            "calico-node",
            {"k8s-app": "calico-node"},
            {
                "serviceAccountName": "calico-node",
                "containers": [
                    {
                        "name": "calico-node",
                        "image": IMAGE,
                        "env": [NODE_NAME_ENV],
                        "securityContext": {"privileged": True},
                    }
                ],
            },
        ),
    ]
