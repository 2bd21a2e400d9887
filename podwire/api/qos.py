"""The quality-of-service class of a pod: who is evicted first.

Source: kubernetes pkg/apis/core/v1/helper/qos (cpu and memory only; pod-level resources are not
modelled).
"""

from __future__ import annotations

from podwire.api import quantity
from podwire.api.view import JSON

_RESOURCES = ("cpu", "memory")


def qos_class(spec: JSON) -> str:
    """Guaranteed, Burstable or BestEffort, from a defaulted pod spec in JSON form."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    named = False
    guaranteed = bool(containers)
    for container in containers:
        resources = container.get("resources")
        if not resources:
            guaranteed = False
            continue
        requests = _positive(resources.get("requests"))
        limits = _positive(resources.get("limits"))
        named = named or bool(requests or limits)
        if len(limits) < len(_RESOURCES) or requests != limits:
            guaranteed = False
    if not named:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amounts: dict[str, str] | None) -> dict[str, int]:
    found: dict[str, int] = {}
    if amounts:
        for name in _RESOURCES:
            amount = amounts.get(name)
            if amount is not None and (nano := quantity.parse(amount).nano) > 0:
                found[name] = nano
    return found
