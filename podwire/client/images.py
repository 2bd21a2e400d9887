"""Which room implements which images: kubelet knows before that room need be there.

The one list; the rooms take theirs from it.
"""

from __future__ import annotations

KUBE_PROXY = ("registry.k8s.io/kube-proxy",)
FLANNEL = (
    "ghcr.io/flannel-io/flannel",
    "ghcr.io/flannel-io/flannel-cni-plugin",
    "docker.io/flannel/flannel",
    "docker.io/flannel/flannel-cni-plugin",
)
CALICO = ("quay.io/calico/node", "docker.io/calico/node")
COREDNS = ("registry.k8s.io/coredns/coredns", "docker.io/coredns/coredns", "coredns/coredns")
INGRESS_NGINX = ("registry.k8s.io/ingress-nginx/controller",)

BY_ROOM: dict[str, tuple[str, ...]] = {
    "kube-proxy": KUBE_PROXY,
    "cni": (*FLANNEL, *CALICO),
    "coredns": COREDNS,
    "ingress": INGRESS_NGINX,
}
"""By the name of the room's process."""
