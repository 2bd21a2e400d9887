"""podwire: a Kubernetes cluster and its network, emulated.

The tree is the architecture diagram; ARCHITECTURE.md walks it. Rooms at the repository's root
(apiserver, controllers, kubelet, kube_proxy, coredns, cni) are reachable here by links, so there
is one import name: ``podwire.kubelet``, never a bare ``kubelet``.
"""

__version__ = "0.1.0"
