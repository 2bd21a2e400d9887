"""From a container's spec to a running instance: image, environment, mounts, program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from podwire.api.views import Container, Pod, SecurityContext
from podwire.client.counters import Container as Running
from podwire.client.counters import ContainerHost, ContainerSpec, ContainerUser, Process
from podwire.kubelet import dns
from podwire.kubelet.env import (
    ConfigError,
    Links,
    PodValues,
    command_line,
    environment,
    service_links,
)
from podwire.kubelet.files import FileView, ReadOnly, Source
from podwire.kubelet.logs import ContainerLog
from podwire.kubelet.metering import MeteredSockets
from podwire.kubelet.network import Sandbox
from podwire.kubelet.pids import PidNamespace, Proc, ProcFiles
from podwire.kubelet.process import ContainerProcess
from podwire.kubelet.state import Instance, Kubelet
from podwire.kubelet.stdio import Stdio
from podwire.kubelet.usage import Meter
from podwire.kubelet.volumes import PodVolumes

GENERIC_REASON = "GenericProgram"
MESSAGE_PATH = "/dev/termination-log"
MESSAGE_BYTES = 4096
LOG_LINES, LOG_BYTES = 80, 2048
"""Limits of termination messages (pkg/kubelet/container, MaxContainerTerminationMessage*)."""
NOT_MODELLED = "NotModelled"
"""Why a container waits, and the Event that says it: podwire's own word."""
LOST = "ContainerStatusUnknown"
LOST_MESSAGE = "The container could not be located when the pod was terminated"
"""Upstream's words (kuberuntime) for a container that its runtime no longer knows."""


@runtime_checkable
class Describes(Protocol):
    """A container host that can tell which model an image runs as."""

    def describe(self, image: str) -> str:
        """The model's name; ``generic`` for an image that nobody modelled."""

    def uid(self, image: str) -> int | None:
        """The user that the image names; None when that is not known."""

    def stop_signal(self, image: str) -> str:
        """The signal that the image names (``STOPSIGNAL``), "" for none."""


@runtime_checkable
class Words(Protocol):
    """A container host that can tell what an image's process is called."""

    def words(self, image: str, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The command line, when it is given ``argv``."""


@runtime_checkable
class Brings(Protocol):
    """A container host that knows files of images."""

    def files(self, image: str) -> Mapping[str, bytes]:
        """By absolute path."""


@runtime_checkable
class Objects(Protocol):
    """A container host that can tell why it must not run what it is given."""

    def objection(self, process: Process) -> str:
        """What is not modelled of it; "" when all is."""


def objection(kubelet: Kubelet, process: ContainerProcess) -> str:
    """Why a container has to wait: its shell's script uses what is not modelled."""
    host = host_of(kubelet, process.spec.image)
    return host.objection(process) if isinstance(host, Objects) else ""


def generic_notice(kubelet: Kubelet, image: str) -> str:
    """What to tell about an image that runs as the generic program; '' for a modelled one."""
    host = host_of(kubelet, image)
    if not isinstance(host, Describes) or host.describe(image) != "generic":
        return ""
    return (
        f'Image "{image}" is not modelled: it runs as the generic program, which listens on its '
        "containerPorts and answers HTTP with 200"
    )


@dataclass(frozen=True, slots=True)
class PodFiles:
    """The three files that kubelet manages for every container of a pod."""

    resolv_conf: str
    hosts: str
    hostname: str


async def pod_files(kubelet: Kubelet, pod: Pod, pod_ips: tuple[str, ...]) -> PodFiles:
    """Make them; warnings about the resolver become events. Raises DnsError."""
    config = kubelet.config
    host = dns.parse(await node_text(kubelet, "/etc/resolv.conf"))
    conf, warnings = dns.pod_resolv_conf(pod, host, config.cluster_dns, config.cluster_domain)
    for reason, message in warnings:
        kubelet.event(pod, "Warning", reason, message)
    node_hosts = await node_text(kubelet, "/etc/hosts") if pod.spec.host_network else ""
    return PodFiles(
        conf.render(),
        dns.hosts_file(pod, pod_ips, config.cluster_domain, node_hosts),
        dns.hostname(pod, config.node, config.cluster_domain),
    )


async def node_text(kubelet: Kubelet, path: str) -> str:
    """A text file of the node; '' when it does not exist."""
    try:
        return (await kubelet.ctx.fabric.read_file(kubelet.config.node, path)).decode()
    except FileNotFoundError:
        return ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the containers of one pod share."""

    sandbox: Sandbox
    pod_ips: tuple[str, ...]
    files: PodFiles
    volumes: PodVolumes
    instances: Mapping[str, Instance]
    """Its running containers by name."""
    pids: PidNamespace | None
    """The PID namespace that they share, if they do."""
    pause: Proc
    """The process that holds the sandbox's namespaces."""


def make_process(
    kubelet: Kubelet,
    pod: Pod,
    around: Surroundings,
    container: Container,
    id: str,
    log: ContainerLog,
) -> ContainerProcess:
    """The surroundings of one container instance. Raises ConfigError."""
    config = kubelet.config
    values = PodValues(
        pod=pod,
        host_ips=kubelet.info.addresses,
        pod_ips=around.pod_ips,
        links=_links(kubelet, pod),
        lookups=kubelet.lookups,
        allocatable=kubelet.capacity,
        hostname=around.files.hostname,
    )
    variables = environment(container, values)
    pids = _pid_namespace(kubelet, pod, around, container)
    user = user_of(kubelet, pod, container)
    mounts: list[tuple[str, Source]] = [
        ("/etc/resolv.conf", ReadOnly({"": around.files.resolv_conf.encode()})),
        ("/etc/hosts", ReadOnly({"": around.files.hosts.encode()})),
        ("/etc/hostname", ReadOnly({"": f"{around.files.hostname}\n".encode()})),
        ("/proc", ProcFiles(pids)),
        *around.volumes.mounts(container, variables),
    ]
    spec = ContainerSpec(
        id=id,
        node=config.node,
        netns=around.sandbox.netns,
        namespace=pod.metadata.namespace,
        pod=pod.metadata.name,
        pod_uid=pod.metadata.uid,
        pod_ip=around.pod_ips[0],
        name=container.name,
        image=container.image,
        argv=command_line(container, variables),
        has_command=bool(container.command),
        env=variables,
        ports=tuple((p.container_port, p.protocol) for p in container.ports),
        hostname=around.files.hostname,
        working_dir=container.working_dir or "/",
        user=user,
    )
    stdio = Stdio(
        log, stdin=container.stdin, stdin_once=container.stdin_once, tty=container.tty
    )  # fmt: skip
    meter = Meter()
    sockets = MeteredSockets(kubelet.ctx.sockets.owned_by(id), meter, kubelet.ctx.clock)
    host = host_of(kubelet, container.image)
    brought = host.files(container.image) if isinstance(host, Brings) else {}
    files = FileView(mounts, user, kubelet.ctx.clock, brought)
    return ContainerProcess(spec, sockets, files, stdio, meter, pids)


def _pid_namespace(
    kubelet: Kubelet, pod: Pod, around: Surroundings, container: Container
) -> PidNamespace:
    """Whose processes a container sees. Raises ConfigError for a target that does not run."""
    if target := container.target_container_name:
        if target not in around.instances:
            raise ConfigError(f"unable to find target container {target}")
        return around.instances[target].process.pids
    if pod.spec.host_pid:
        return kubelet.pids
    return around.pids or PidNamespace(parent=kubelet.pids)


def user_of(kubelet: Kubelet, pod: Pod, container: Container) -> ContainerUser:
    """Whose processes the container's are. Raises ConfigError where the spec forbids that.

    Source: kubernetes pkg/kubelet/kuberuntime/security_context (verifyRunAsNonRoot).
    """
    shared, own = pod.spec.security_context, container.security_context or SecurityContext()
    host = host_of(kubelet, container.image)
    named = host.uid(container.image) if isinstance(host, Describes) else None
    asked = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    strict = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    where = f'(pod: "{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})", container: '
    where += f"{container.name})"
    if strict and asked == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if strict and asked is None and named == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    more = [*shared.supplemental_groups]
    if shared.fs_group is not None:
        more.append(shared.fs_group)
    return ContainerUser(asked if asked is not None else named or 0, group or 0, tuple(more))


def _links(kubelet: Kubelet, pod: Pod) -> Mapping[str, str]:
    """``service_links``, remembered for each namespace until one of its Services changes."""
    namespace = pod.metadata.namespace
    services = kubelet.services.list(namespace)
    api_server = kubelet.services.get("default", "kubernetes")
    place = namespace, pod.spec.enable_service_links
    known = kubelet.links.get(place)
    if known is None or known.services is not services or known.api_server is not api_server:
        more = [api_server] if api_server is not None and namespace != "default" else []
        known = Links(services, api_server, service_links(pod, [*more, *services]))
        kubelet.links[place] = known
    return known.variables


def host_of(kubelet: Kubelet, image: str) -> ContainerHost:
    """The first room that implements the image (the last one implements every image)."""
    for host in kubelet.ctx.hosts:
        if host.implements(image):
            return host
    raise OSError(2, f'image "{image}" has no container host')


async def available(kubelet: Kubelet, image: str) -> None:
    """Wait for the room that implements the image, if it is away."""
    for host in kubelet.ctx.hosts:
        if host.implements(image):
            await host.available()
            return


async def start(kubelet: Kubelet, process: ContainerProcess) -> Running:
    """Start the program. Raises OSError with the runtime's message when it cannot be,
    ConnectionError when the room that would run it is lost.
    """
    spec = process.spec
    host = host_of(kubelet, spec.image)
    argv = host.words(spec.image, spec.argv) if isinstance(host, Words) else spec.argv
    process.enter(argv or (spec.name,))
    return await host.start(process)


def start_failure(error: OSError, argv: tuple[str, ...]) -> str:
    """The runtime's message for a command that could not be started."""
    why = str(error.strerror or error)
    if isinstance(error, FileNotFoundError):
        why = "executable file not found in $PATH"
        if argv and "/" in argv[0]:
            why = f"stat {argv[0]}: no such file or directory"
    words = f'exec: "{argv[0]}": ' if argv else ""
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
        "runc create failed: unable to start container process: error during container init: "
        f"{words}{why}: unknown"
    )


def termination_message(process: ContainerProcess, container: Container, code: int) -> str:
    """What the program left in its termination message file, at most 4096 bytes; where the policy
    says so and a program that failed left nothing, the end of its log (80 lines, 2048 bytes).
    """
    path = container.termination_message_path or MESSAGE_PATH
    try:
        said = process.files.read(path)[:MESSAGE_BYTES]
    except FileNotFoundError:
        said = b""
    if not said and code and container.termination_message_policy == "FallbackToLogsOnError":
        lines = process.stdio.log.text().encode().splitlines(keepends=True)[-LOG_LINES:]
        said = b"".join(lines)[-LOG_BYTES:]
    return said.decode(errors="replace")
