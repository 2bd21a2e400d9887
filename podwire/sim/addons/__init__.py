"""What every cluster has from birth: the objects that kubeadm's phases would create.

One file per addon; ``first``, ``objects`` and ``chosen`` are the one ordered list.
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons import (
    base,
    bootstrap,
    calico,
    coredns,
    flannel,
    ingress_nginx,
    kube_proxy,
    rbac,
    storage,
)
from podwire.sim.settings import ClusterSettings


def first(settings: ClusterSettings) -> list[JSON]:
    """What must be there before the API server's own roles and bindings are made."""
    return base.objects(settings)


def objects(settings: ClusterSettings) -> list[JSON]:
    """Everything else, in the order in which it is created."""
    return [
        *rbac.objects(),
        *rbac.controllers(),
        *bootstrap.objects(settings),
        *storage.objects(),
        *kube_proxy.objects(settings),
        *flannel.objects(settings),
        *(calico.objects() if settings.cni == "calico" else ()),
        *coredns.objects(settings),
    ]


def chosen(settings: ClusterSettings) -> list[JSON]:
    """What comes last, and draws addresses and ports: the Ingress controller."""
    return ingress_nginx.objects(settings) if settings.ingress == "nginx" else []
