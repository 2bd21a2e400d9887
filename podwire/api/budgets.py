"""Which pods a PodDisruptionBudget protects (pure)."""

from __future__ import annotations

from podwire.api import selectors
from podwire.api.views import Pod, PodDisruptionBudget


def protects(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """Whether the pod is of this budget: {} selects all of the namespace, null nobody."""
    if pod.metadata.namespace != budget.metadata.namespace:
        return False
    return selectors.compile(budget.spec.selector).matches(pod.metadata.labels)
