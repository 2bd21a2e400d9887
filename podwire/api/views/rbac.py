"""Views of rbac.authorization.k8s.io."""

from __future__ import annotations

from podwire.api.view import JSON, View
from podwire.api.views.meta import LabelSelector, Object


class AggregationRule(View, frozen=True, kw_only=True):
    """clusterrole aggregationRule."""

    cluster_role_selectors: list[LabelSelector] = []


class ClusterRole(Object, frozen=True, kw_only=True):
    """rbac.authorization.k8s.io/v1 ClusterRole."""

    rules: list[JSON] | None = None
    aggregation_rule: AggregationRule | None = None
