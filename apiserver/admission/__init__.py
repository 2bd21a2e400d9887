"""Admission: what may still change or refuse an object after it was decoded.

The order below is the order of upstream's recommended plugins that are modelled.
"""

from __future__ import annotations

from podwire.apiserver.admission import (
    default_ingress_class,
    default_tolerations,
    namespace_lifecycle,
    priority,
    service_account,
)
from podwire.apiserver.admission.review import Plugin, Review

CHAIN: tuple[Plugin, ...] = (
    namespace_lifecycle.admit,
    service_account.admit,
    priority.admit,
    default_tolerations.admit,
    default_ingress_class.admit,
)
"""Every plugin, in the one order in which they run."""

__all__ = ["CHAIN", "Plugin", "Review"]
