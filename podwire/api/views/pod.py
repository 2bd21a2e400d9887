"""Views of Pod."""

from __future__ import annotations

import msgspec

from podwire.api.view import JSON, View
from podwire.api.views.meta import (
    Condition,
    Labels,
    LabelSelector,
    LocalObjectReference,
    Object,
    SelectorRequirement,
)


class ContainerPort(View, frozen=True, kw_only=True):
    """containers[].ports[]."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"


class ObjectFieldSelector(View, frozen=True, kw_only=True):
    """valueFrom.fieldRef."""

    api_version: str = "v1"
    field_path: str = ""


class KeySelector(View, frozen=True, kw_only=True):
    """configMapKeyRef and secretKeyRef."""

    name: str = ""
    key: str = ""
    optional: bool = False


class EnvVarSource(View, frozen=True, kw_only=True):
    """env[].valueFrom."""

    field_ref: ObjectFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    resource_field_ref: dict[str, str] | None = None


class EnvVar(View, frozen=True, kw_only=True):
    """containers[].env[]."""

    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvFromSource(View, frozen=True, kw_only=True):
    """containers[].envFrom[]."""

    prefix: str = ""
    config_map_ref: KeySelector | None = None
    secret_ref: KeySelector | None = None


class HTTPHeader(View, frozen=True, kw_only=True):
    """httpGet.httpHeaders[]."""

    name: str = ""
    value: str = ""


class HTTPGetAction(View, frozen=True, kw_only=True):
    """A probe or hook by HTTP."""

    path: str = "/"
    port: int | str = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HTTPHeader] = []


class TCPSocketAction(View, frozen=True, kw_only=True):
    """A probe by TCP connect."""

    port: int | str = 0
    host: str = ""


class ExecAction(View, frozen=True, kw_only=True):
    """A probe or hook by command."""

    command: list[str] = []


class GRPCAction(View, frozen=True, kw_only=True):
    """A probe by grpc.health.v1."""

    port: int = 0
    service: str = ""


class Probe(View, frozen=True, kw_only=True):
    """liveness, readiness and startup probes; zero means the API's default."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class ResourceRequirements(View, frozen=True, kw_only=True):
    """containers[].resources."""

    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class VolumeMount(View, frozen=True, kw_only=True):
    """containers[].volumeMounts[]."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class LifecycleHandler(View, frozen=True, kw_only=True):
    """lifecycle.preStop / postStart."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: dict[str, int] | None = None


class Lifecycle(View, frozen=True, kw_only=True):
    """containers[].lifecycle."""

    stop_signal: str = ""
    pre_stop: LifecycleHandler | None = None
    post_start: LifecycleHandler | None = None


class SecurityContext(View, frozen=True, kw_only=True):
    """spec.securityContext and containers[].securityContext: whose processes these are."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: list[int] = []


class Container(View, frozen=True, kw_only=True):
    """spec.containers[], spec.initContainers[] and spec.ephemeralContainers[]."""

    name: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[EnvVar] = []
    env_from: list[EnvFromSource] = []
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    image_pull_policy: str = ""
    restart_policy: str = ""
    restart_policy_rules: list[JSON] = []
    resize_policy: list[dict[str, str]] = []
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    security_context: SecurityContext | None = None
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    target_container_name: str = ""
    """Of an ephemeral container: whose processes it sees."""


class KeyToPath(View, frozen=True, kw_only=True):
    """items[] of configMap and secret volumes."""

    key: str = ""
    path: str = ""
    mode: int | None = None


class ConfigMapVolume(View, frozen=True, kw_only=True):
    """volumes[].configMap (also projected sources)."""

    name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False
    default_mode: int = 0o644


class SecretVolume(View, frozen=True, kw_only=True):
    """volumes[].secret."""

    secret_name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False
    default_mode: int = 0o644


class HostPathVolume(View, frozen=True, kw_only=True):
    """volumes[].hostPath."""

    path: str = ""
    type: str = ""


class Volume(View, frozen=True, kw_only=True):
    """spec.volumes[]."""

    name: str = ""
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    host_path: HostPathVolume | None = None
    empty_dir: JSON | None = None
    projected: JSON | None = None
    downward_api: JSON | None = None
    persistent_volume_claim: JSON | None = None
    csi: JSON | None = None
    nfs: JSON | None = None
    ephemeral: JSON | None = None


class Toleration(View, frozen=True, kw_only=True):
    """spec.tolerations[]."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class DNSConfigOption(View, frozen=True, kw_only=True):
    """dnsConfig.options[]."""

    name: str = ""
    value: str | None = None


class DNSConfig(View, frozen=True, kw_only=True):
    """spec.dnsConfig."""

    nameservers: list[str] = []
    searches: list[str] = []
    options: list[DNSConfigOption] = []


class HostAlias(View, frozen=True, kw_only=True):
    """spec.hostAliases[]."""

    ip: str = ""
    hostnames: list[str] = []


class NodeSelectorTerm(View, frozen=True, kw_only=True):
    """One ORed term of a node selector."""

    match_expressions: list[SelectorRequirement] = []
    match_fields: list[SelectorRequirement] = []


class NodeSelector(View, frozen=True, kw_only=True):
    """requiredDuringSchedulingIgnoredDuringExecution of nodeAffinity."""

    node_selector_terms: list[NodeSelectorTerm] = []


class PreferredSchedulingTerm(View, frozen=True, kw_only=True):
    """preferredDuringSchedulingIgnoredDuringExecution[] of nodeAffinity."""

    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(View, frozen=True, kw_only=True):
    """affinity.nodeAffinity."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] = []


class PodAffinityTerm(View, frozen=True, kw_only=True):
    """A term of podAffinity and podAntiAffinity; absent selectors select nothing."""

    label_selector: LabelSelector | None = None
    namespaces: list[str] = []
    topology_key: str = ""
    namespace_selector: LabelSelector | None = None


class WeightedPodAffinityTerm(View, frozen=True, kw_only=True):
    """preferredDuringSchedulingIgnoredDuringExecution[] of podAffinity and podAntiAffinity."""

    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAffinity(View, frozen=True, kw_only=True):
    """affinity.podAffinity and affinity.podAntiAffinity."""

    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = []
    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = []


class Affinity(View, frozen=True, kw_only=True):
    """spec.affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(View, frozen=True, kw_only=True):
    """spec.topologySpreadConstraints[]; policies are the API's defaults when absent."""

    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"
    match_label_keys: list[str] = []


class PodSpec(View, frozen=True, kw_only=True):
    """pod spec."""

    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[Container] = []
    volumes: list[Volume] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    security_context: SecurityContext = SecurityContext()
    share_process_namespace: bool = False
    dns_policy: str = "ClusterFirst"
    dns_config: DNSConfig | None = None
    node_selector: Labels = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    service_account_name: str = ""
    image_pull_secrets: list[LocalObjectReference] = []
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    host_aliases: list[HostAlias] = []
    scheduler_name: str = "default-scheduler"
    priority: int = 0
    priority_class_name: str = ""
    preemption_policy: str = "PreemptLowerPriority"
    overhead: dict[str, str] = {}
    os: dict[str, str] = {}
    resources: ResourceRequirements = ResourceRequirements()
    scheduling_gates: list[JSON] = []
    readiness_gates: list[JSON] = []
    enable_service_links: bool = True


class ContainerStatus(View, frozen=True, kw_only=True):
    """status.containerStatuses[]; ``state`` holds one of waiting, running, terminated."""

    name: str = ""
    state: dict[str, JSON] = {}
    last_state: dict[str, JSON] = {}
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    resources: ResourceRequirements | None = None
    allocated_resources: dict[str, str] = {}
    stop_signal: str = ""


class PodIP(View, frozen=True, kw_only=True):
    """status.podIPs[] and hostIPs[]."""

    ip: str = ""


class PodStatus(View, frozen=True, kw_only=True):
    """pod status."""

    phase: str = ""
    conditions: list[Condition] = []
    message: str = ""
    reason: str = ""
    host_ip: str = ""
    host_ips: list[PodIP] = []
    pod_ip: str = ""
    pod_ips: list[PodIP] = []
    start_time: str = ""
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []
    nominated_node_name: str = ""
    ephemeral_container_statuses: list[ContainerStatus] = []
    qos_class: str = ""


class Pod(Object, frozen=True, kw_only=True):
    """v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def condition(self, type: str) -> Condition | None:
        """The condition of that type, if present."""
        for condition in self.status.conditions:
            if condition.type == type:
                return condition
        return None

    @property
    def ready(self) -> bool:
        """Whether condition Ready is True."""
        for condition in self.status.conditions:
            if condition.type == "Ready":
                return condition.status == "True"
        return False
