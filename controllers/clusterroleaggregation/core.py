"""Which rules an aggregated ClusterRole must have (pure).

Source: kubernetes pkg/controller/clusterroleaggregation (which applies them server-side; here they
are a merge patch, so that their manager is an Update).
"""

from __future__ import annotations

from collections.abc import Sequence

from podwire.api import kinds, selectors
from podwire.api.view import JSON
from podwire.api.views import ClusterRole
from podwire.client.effects import Effect, Patch


def reconcile(role: ClusterRole | None, roles: Sequence[ClusterRole]) -> list[Effect]:
    """Give a role the rules of the ``roles`` (in order of their names) that it selects."""
    if role is None or role.aggregation_rule is None:
        return []
    wanted: list[JSON] = []
    for selector in role.aggregation_rule.cluster_role_selectors:
        chosen = selectors.compile(selector)
        for other in roles:
            if other is role or not chosen.matches(other.metadata.labels):
                continue
            wanted += [rule for rule in other.rules or () if rule not in wanted]
    if wanted == (role.rules or []):
        return []
    return [Patch(kinds.CLUSTER_ROLE, role.metadata.name, {"rules": wanted}, missing_ok=True)]
