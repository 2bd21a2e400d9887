"""Flannel: ConfigMap, ServiceAccount with its rights, DaemonSet.

Source of the shape: flannel Documentation/kube-flannel.yml (here in kube-system).
"""

from __future__ import annotations

import json

from podwire.api.view import JSON
from podwire.sim.addons import rbac
from podwire.sim.addons.base import NODE_NAME_ENV, config_map, daemon_set, service_account
from podwire.sim.settings import ClusterSettings

IMAGE = "ghcr.io/flannel-io/flannel:v0.28.9"

_CNI = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
_BACKEND: JSON = {"Type": "vxlan"}


def objects(settings: ClusterSettings) -> list[JSON]:
    """The addon's objects."""
    four = {"Network": settings.pod_cidr, "EnableNFTables": False, "Backend": _BACKEND}
    six = {"EnableIPv6": True, "IPv6Network": settings.pod_cidr6}
    net = {
        "ipv4": four,
        "dual": {**four, **six},
        "ipv6": {"EnableIPv4": False, **six, "Backend": _BACKEND},
    }[settings.ip_family]
    labels = {"app": "flannel", "k8s-app": "flannel", "tier": "node"}
    data = {
        "cni-conf.json": json.dumps(_CNI, indent=2) + "\n",
        "net-conf.json": json.dumps(net, indent=2) + "\n",
    }
    return [
        service_account("flannel"),
        rbac.role(
            "flannel",
            [
                rbac.rule([""], ["pods"], ["get"]),
                rbac.rule([""], ["nodes"], ["get", "list", "watch"]),
                rbac.rule([""], ["nodes/status"], ["patch"]),
            ],
        ),
        rbac.binding("flannel", "flannel", [rbac.account("flannel")]),
        config_map("kube-flannel-cfg", data, labels),
        daemon_set(
            "kube-flannel-ds",
            labels,
            {
                "serviceAccountName": "flannel",
                "containers": [
                    {
                        "name": "kube-flannel",
                        "image": IMAGE,
                        "command": ["/opt/bin/flanneld"],
                        "args": ["--ip-masq", "--kube-subnet-mgr"],
                        "env": [NODE_NAME_ENV],
                        "securityContext": {
                            "privileged": False,
                            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]},
                        },
                        "volumeMounts": [
                            {"name": "run", "mountPath": "/run/flannel"},
                            {"name": "cni", "mountPath": "/etc/cni/net.d"},
                            {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "run", "hostPath": {"path": "/run/flannel"}},
                    {"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}},
                    {"name": "flannel-cfg", "configMap": {"name": "kube-flannel-cfg"}},
                ],
            },
        ),
    ]
