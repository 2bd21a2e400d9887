"""What every cluster has from birth: the objects that kubeadm's phases would create.

One file per addon; ``objects(settings, ca_pem)`` is the one ordered list.
"""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.sim.addons import base, bootstrap, calico, coredns, flannel, ingress_nginx, kube_proxy
from podwire.sim.settings import ClusterSettings


def objects(settings: ClusterSettings) -> list[JSON]:
    """Every bootstrap object, in the order in which it is created."""
    return [
        *base.objects(settings),
        *bootstrap.objects(settings),
        *kube_proxy.objects(settings),
        *flannel.objects(settings),
        *(calico.objects() if settings.cni == "calico" else ()),
        *coredns.objects(settings),
        *(ingress_nginx.objects(settings) if settings.ingress == "nginx" else ()),
    ]
