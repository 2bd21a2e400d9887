"""Admission: what may still change or refuse an object after it was decoded.

``PLUGINS`` has upstream's order (pkg/kubeapiserver/options/plugins.go) and its choice of what runs
unless the server is told otherwise (``Config.enable_admission_plugins`` and its twin). Each plugin
is one module with a ``PLUGIN``; ``chain`` runs them. docs/admission.md tells what is modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from podwire.apiserver.admission import (
    always,
    always_pull_images,
    anti_affinity,
    attachments,
    certificates,
    claim_resize,
    configuration,
    default_ingress_class,
    default_storage_class,
    default_tolerations,
    deny_external_ips,
    event_rate_limit,
    extended_resources,
    limit_ranger,
    namespace_exists,
    namespace_lifecycle,
    namespace_provision,
    node_restriction,
    node_taints,
    owner_references,
    pod_node_selector,
    pod_security,
    pod_tolerations,
    priority,
    resource_quota,
    runtime_class,
    service_account,
    storage_protection,
    topology_labels,
    trust_bundles,
)
from podwire.apiserver.admission.chain import Chain, Plugin, choose, told
from podwire.apiserver.admission.policies import mutating, validating
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks import dispatch
from podwire.runtime.clock import RealClock

PLUGINS: tuple[Plugin, ...] = (
    always.ADMIT,
    namespace_provision.PLUGIN,
    namespace_lifecycle.PLUGIN,
    namespace_exists.PLUGIN,
    anti_affinity.PLUGIN,
    limit_ranger.PLUGIN,
    service_account.PLUGIN,
    node_restriction.PLUGIN,
    node_taints.PLUGIN,
    always_pull_images.PLUGIN,
    pod_security.PLUGIN,
    pod_node_selector.PLUGIN,
    priority.PLUGIN,
    default_tolerations.PLUGIN,
    pod_tolerations.PLUGIN,
    event_rate_limit.PLUGIN,
    extended_resources.PLUGIN,
    default_storage_class.PLUGIN,
    storage_protection.PLUGIN,
    owner_references.PLUGIN,
    claim_resize.PLUGIN,
    runtime_class.PLUGIN,
    certificates.APPROVAL,
    certificates.SIGNING,
    trust_bundles.PLUGIN,
    certificates.SUBJECT_RESTRICTION,
    default_ingress_class.PLUGIN,
    deny_external_ips.PLUGIN,
    topology_labels.PLUGIN,
    mutating.PLUGIN,
    dispatch.MUTATE,
    validating.PLUGIN,
    dispatch.VALIDATE,
    resource_quota.PLUGIN,
    always.DENY,
    attachments.PLUGIN,
)
"""Every plugin, in the one order in which both phases run."""


def check(enabled: Sequence[str], disabled: Sequence[str], config_file: str) -> None:
    """Whether a server could be started so. Raises ValueError, OSError."""
    given = configuration.load(Path(config_file)) if config_file else {}
    told(choose(PLUGINS, enabled, disabled), given, RealClock())


__all__ = ["PLUGINS", "Chain", "Plugin", "Review"]
