"""What a cluster is made of, and the fixed facts of the modelled network."""

from __future__ import annotations

from dataclasses import dataclass

from podwire.api import names
from podwire.client.counters import User

KUBERNETES_VERSION = "v1.37.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR6 = "fd00:10:244::/56"
SERVICE_CIDR6 = "fd00:10:96::/112"
"""kind's ranges of the second family."""
DNS_ADDRESS, DNS_ADDRESS6 = "10.96.0.10", "fd00:10:96::a"
KUBERNETES_ADDRESS, KUBERNETES_ADDRESS6 = "10.96.0.1", "fd00:10:96::1"
CLUSTER_DOMAIN = "cluster.local"
CONTROL_PLANE = "control-plane"
CONTROL_PLANE_ADDRESS, CONTROL_PLANE_ADDRESS6 = "192.168.0.10", "fd00:192:168::10"
GATEWAY = "gateway"
LOOPBACK = "127.0.0.1"
SERVER_NAMES = (
    LOOPBACK,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    KUBERNETES_ADDRESS,
    KUBERNETES_ADDRESS6,
    CONTROL_PLANE_ADDRESS,
    CONTROL_PLANE_ADDRESS6,
)
"""What clients may call the API server by."""
ADMIN = User("kubernetes-admin", ("kubeadm:cluster-admins", "system:authenticated"))
"""Whose certificate a kubeconfig holds; kubeadm's binding makes the group cluster-admin."""
APISERVER = User("system:apiserver", ("system:masters", "system:authenticated"))
"""The API server asking itself (upstream's loopback client)."""
API_PORT = 6443
MAX_NODES = 1000
ROOMY = 200
"""Up to so many nodes share 192.168.0.0/24 and 10.244.0.0/16; of more, all have wider ranges."""
WIDE_POD_CIDR = "10.244.0.0/14"
WIDE_POD_CIDR6 = "fd00:10:244::/54"
NODE_PREFIX_LENGTH, WIDE_NODE_PREFIX_LENGTH = 24, 22

CNI_PROFILES = ("flannel", "calico")
PROXY_MODES = ("iptables", "ipvs", "nftables", "ebpf")
INGRESS_CONTROLLERS = ("nginx", "none")
TIME_PROFILES = ("fast", "typical", "slow")
AUTHORIZATION_MODES = ("RBAC", "AlwaysAllow")
"""``RBAC`` is kubeadm's ``Node,RBAC``."""
IP_FAMILIES = ("ipv4", "ipv6", "dual")
"""kind's ``networking.ipFamily``."""
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The choices of ``podwire up``. Raises ValueError for one that does not exist."""

    name: str = "podwire"
    nodes: int = 3
    cni: str = "flannel"
    proxy_mode: str = "iptables"
    time_profile: str = "typical"
    ingress: str = "none"
    """The Ingress controller that the cluster is born with."""
    ip_family: str = "ipv4"
    """``dual``: nodes, pods and Services have IPv6 addresses too; ``ipv6``: none of IPv4."""
    authorization_mode: str = "RBAC"
    """``AlwaysAllow``: any authenticated identity may do everything."""
    audit_policy_file: str = ""
    """What of requests is logged, as kube-apiserver's flag of that name; "": nothing."""
    audit_log_path: str = ""
    """The file that it is logged to, ``-`` for standard output."""
    enable_admission_plugins: tuple[str, ...] = ()
    """Plugins that run besides those that always do, by kube-apiserver's names."""
    disable_admission_plugins: tuple[str, ...] = ()
    """Plugins that do not run."""
    admission_control_config_file: str = ""
    """An AdmissionConfiguration, for the plugins that have one; "": none."""
    zones: tuple[str, ...] = ()
    """Availability zones; the nodes take turns in them. None: nodes have no zone."""

    def __post_init__(self) -> None:
        for field, value, options in (
            ("cni", self.cni, CNI_PROFILES),
            ("proxy-mode", self.proxy_mode, PROXY_MODES),
            ("time-profile", self.time_profile, TIME_PROFILES),
            ("ingress", self.ingress, INGRESS_CONTROLLERS),
            ("ip-family", self.ip_family, IP_FAMILIES),
            ("authorization-mode", self.authorization_mode, AUTHORIZATION_MODES),
        ):
            if value not in options:
                raise ValueError(
                    f"{field}: {value!r} is not modelled; choose {' or '.join(options)}"
                )
        if bool(self.audit_policy_file) != bool(self.audit_log_path):
            raise ValueError("audit-policy-file and audit-log-path: give both, or none of them")
        if not 1 <= self.nodes <= MAX_NODES:
            raise ValueError(f"nodes: {self.nodes} is not between 1 and {MAX_NODES}")
        for index, zone in enumerate(self.zones):
            wrong = names.label_value(zone) if zone else ["name the zone"]
            if wrong:
                raise ValueError(f"zones.{index}: {zone!r}: {wrong[0]}")

    @property
    def dual(self) -> bool:
        """Whether there are two families."""
        return self.ip_family == "dual"

    @property
    def six(self) -> bool:
        """Whether there is IPv6 alone."""
        return self.ip_family == "ipv6"

    def _ranges(self, four: str, six: str) -> str:
        """One or two ranges, the primary family's first."""
        return {"ipv4": four, "ipv6": six, "dual": f"{four},{six}"}[self.ip_family]

    @property
    def pod_cidrs(self) -> str:
        """The pod ranges, primary first, as ``--cluster-cidr`` takes them."""
        return self._ranges(self.pod_cidr, self.pod_cidr6)

    @property
    def wide(self) -> bool:
        """Whether a /24 of nodes and a /16 of pods are too small."""
        return self.nodes > ROOMY

    @property
    def pod_cidr(self) -> str:
        """The IPv4 range of pods: a /24 for each node."""
        return WIDE_POD_CIDR if self.wide else POD_CIDR

    @property
    def pod_cidr6(self) -> str:
        """The IPv6 range of pods: a /64 for each node."""
        return WIDE_POD_CIDR6 if self.wide else POD_CIDR6

    @property
    def node_prefix_length(self) -> int:
        """Of the IPv4 network on which the machines are."""
        return WIDE_NODE_PREFIX_LENGTH if self.wide else NODE_PREFIX_LENGTH

    @property
    def service_cidrs(self) -> str:
        """The Service ranges, primary first, as ``--service-cluster-ip-range`` takes them."""
        return self._ranges(SERVICE_CIDR, SERVICE_CIDR6)

    @property
    def dns_address(self) -> str:
        """The cluster IP of kube-dns."""
        return DNS_ADDRESS6 if self.six else DNS_ADDRESS

    @property
    def kubernetes_address(self) -> str:
        """The cluster IP of default/kubernetes."""
        return KUBERNETES_ADDRESS6 if self.six else KUBERNETES_ADDRESS

    @property
    def control_plane_address(self) -> str:
        """Where the API server is modelled to listen."""
        return CONTROL_PLANE_ADDRESS6 if self.six else CONTROL_PLANE_ADDRESS

    @property
    def node_names(self) -> list[str]:
        """node-1 .. node-N."""
        return [f"node-{i}" for i in range(1, self.nodes + 1)]

    def node_labels(self, node: str) -> dict[str, str]:
        """The labels that the cluster's maker gives a node (kubelet's --node-labels)."""
        if not self.zones:
            return {}
        index = self.node_names.index(node)
        return {ZONE_LABEL: self.zones[index % len(self.zones)]}


def node_address(index: int) -> str:
    """The address of node-<index> (1-based): from 192.168.0.11 on, in a /22 at most."""
    third, fourth = divmod(10 + index, 256)
    return f"192.168.{third}.{fourth}"
