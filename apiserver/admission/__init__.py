"""Admission: what may still change or refuse an object after it was decoded.

``PLUGINS`` has upstream's order (pkg/kubeapiserver/options/plugins.go) and its choice of what runs
unless the server is told otherwise (``Config.enable_admission_plugins`` and its twin). Each plugin
is one module with a ``PLUGIN``; ``chain`` runs them. docs/admission.md tells what is modelled.
"""

from __future__ import annotations

from podwire.apiserver.admission import (
    attachments,
    default_ingress_class,
    default_storage_class,
    default_tolerations,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    pod_security,
    priority,
    resource_quota,
    runtime_class,
    service_account,
)
from podwire.apiserver.admission.chain import Chain, Plugin
from podwire.apiserver.admission.policies import mutating, validating
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks import dispatch

PLUGINS: tuple[Plugin, ...] = (
    namespace_lifecycle.PLUGIN,
    limit_ranger.PLUGIN,
    service_account.PLUGIN,
    node_restriction.PLUGIN,
    pod_security.PLUGIN,
    priority.PLUGIN,
    default_tolerations.PLUGIN,
    default_storage_class.PLUGIN,
    runtime_class.PLUGIN,
    default_ingress_class.PLUGIN,
    mutating.PLUGIN,
    dispatch.MUTATE,
    validating.PLUGIN,
    dispatch.VALIDATE,
    resource_quota.PLUGIN,
    attachments.PLUGIN,
)
"""Every plugin, in the one order in which both phases run."""

__all__ = ["PLUGINS", "Chain", "Plugin", "Review"]
