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
        services.add_index("selected", _selected)
        pods.add_index("labels", _labels)
        pods.on_change(self._pod_changed)

    def pods_of(self, service: Service) -> list[Pod]:
        """The pods a Service selects, sorted by name."""
        selector = service.spec.selector
        namespace = service.metadata.namespace
        if not selector:
            return self._pods.list(namespace)
        first = min(selector.items())
        some = self._pods.by_index("labels", _place(namespace, first))
        return [p for p in some if selector.items() <= p.metadata.labels.items()]

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and endpoint_facts(old) == endpoint_facts(new):
            return
        versions = [pod.metadata for pod in (old, new) if pod is not None]
        labels = [meta.labels.items() for meta in versions]
        namespace = versions[-1].namespace
        places = dict.fromkeys(_place(namespace, label) for have in labels for label in have)
        some = [s for place in places for s in self._services.by_index("selected", place)]
        for service in sorted(some, key=_key) if len(some) > 1 else some:
            selector = service.spec.selector.items()
            if any(selector <= have for have in labels):
                self._add(service.key)


def _place(namespace: str, label: tuple[str, str]) -> str:
    """A label of a namespace, as a value of the indexes."""
    return f"{namespace}/{label[0]}={label[1]}"


def _selected(service: Service) -> tuple[str, ...]:
    """One of the labels that a Service selects pods by: without it a pod is none of its."""
    selector = service.spec.selector
    return (_place(service.metadata.namespace, min(selector.items())),) if selector else ()


def _labels(pod: Pod) -> list[str]:
    namespace = pod.metadata.namespace
    return [_place(namespace, label) for label in pod.metadata.labels.items()]


def _key(service: Service) -> str:
    return service.key
