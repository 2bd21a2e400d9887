"""Ports of pods: what a Service's targetPort means for one pod.

Source of the behaviour: kubernetes pkg/api/v1/pod FindPort.
"""

from __future__ import annotations

from podwire.api.views import Container, Pod, ServicePort


def _serving(pod: Pod) -> list[Container]:
    """Containers, then sidecars (init containers that keep running)."""
    sidecars = [c for c in pod.spec.init_containers if c.restart_policy == "Always"]
    return [*pod.spec.containers, *sidecars]


def resolve_port(pod: Pod, port: int | str, protocol: str = "TCP") -> int | None:
    """The number of a port given by number or name; None when no container names it."""
    if isinstance(port, int):
        return port
    for container in _serving(pod):
        for candidate in container.ports:
            if candidate.name == port and candidate.protocol == protocol:
                return candidate.container_port
    return None


def target_port(pod: Pod, service_port: ServicePort) -> int | None:
    """The pod's port behind a Service port; None when the name is unknown to the pod."""
    return resolve_port(pod, service_port.target_port or service_port.port, service_port.protocol)
