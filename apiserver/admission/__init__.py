"""Admission: what may still change or refuse an object after it was decoded.

The order below is the order of upstream's recommended plugins that are modelled. Of those that are
on by default these are not: TaintNodesByCondition, PodSecurity, StorageObjectInUseProtection (there
is no protection controller that would let go), PersistentVolumeClaimResize, PodTopologyLabels,
ClusterTrustBundleAttest, and webhooks and policies, which are stored only. Certificate plugins are
in registry/certificates.py.
"""

from __future__ import annotations

from podwire.apiserver.admission import (
    default_ingress_class,
    default_storage_class,
    default_tolerations,
    limit_ranger,
    namespace_lifecycle,
    priority,
    resource_quota,
    runtime_class,
    service_account,
)
from podwire.apiserver.admission.review import Plugin, Review

CHAIN: tuple[Plugin, ...] = (
    namespace_lifecycle.admit,
    limit_ranger.admit,
    service_account.admit,
    priority.admit,
    default_tolerations.admit,
    default_storage_class.admit,
    runtime_class.admit,
    default_ingress_class.admit,
    resource_quota.admit,
)
"""Every plugin, in the one order in which they run."""

__all__ = ["CHAIN", "Plugin", "Review"]
