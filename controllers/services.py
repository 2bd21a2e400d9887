"""Which Services select a pod, and which pods a Service selects."""

from __future__ import annotations

from collections.abc import Callable

from podwire.api.views import Pod, Service
from podwire.client.informer import Informer


def endpoint_facts(pod: Pod) -> tuple[object, ...]:
    """What of a pod can change an endpoint."""
    return (
        pod.metadata.labels,
        pod.metadata.uid,
        bool(pod.metadata.deletion_timestamp),
        pod.status.phase,
        pod.status.pod_ip,
        pod.ready,
        pod.spec.node_name,
        pod.spec.hostname,
        pod.spec.subdomain,
    )


class ServicesOfPods:
    """Calls ``add(service key)`` for every Service whose endpoints a pod's change may alter."""

    def __init__(
        self,
        services: Informer[Service],
        pods: Informer[Pod],
        add: Callable[[str], None],
    ) -> None:
        self._services = services
        self._pods = pods
        self._add = add
        pods.on_change(self._pod_changed)

    def pods_of(self, service: Service) -> list[Pod]:
        """The pods a Service selects, sorted by name."""
        selector = service.spec.selector.items()
        namespace = service.metadata.namespace
        return [p for p in self._pods.list(namespace) if selector <= p.metadata.labels.items()]

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and endpoint_facts(old) == endpoint_facts(new):
            return
        versions = [pod.metadata for pod in (old, new) if pod is not None]
        labels = [meta.labels.items() for meta in versions]
        for service in self._services.list(versions[-1].namespace):
            selector = service.spec.selector.items()
            if selector and any(selector <= have for have in labels):
                self._add(service.key)
