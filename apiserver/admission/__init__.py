"""Admission: what may still change or refuse an object after it was decoded.

The order below is the order of upstream's recommended plugins that are modelled.
"""

from __future__ import annotations

from podwire.apiserver.admission.review import Plugin, Review

CHAIN: tuple[Plugin, ...] = ()
"""Every plugin, in the one order in which they run."""

__all__ = ["CHAIN", "Plugin", "Review"]
