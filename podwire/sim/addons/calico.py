"""Calico's policy agent beside flannel's wiring (the arrangement once called Canal)."""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons.base import NODE_NAME_ENV, daemon_set, service_account

IMAGE = "quay.io/calico/node:v3.32.0"


def objects() -> list[JSON]:
    """The addon's objects."""
    return [
        service_account("calico-node"),
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
