"""Words that cells are made of: ages, selectors, limited lists.

Source of the forms: apimachinery pkg/util/duration and apis/meta/v1/helpers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podwire.api.times import parse_time
from podwire.api.views import LabelSelector

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


def human_duration(seconds: int) -> str:
    """A duration in at most two units, coarser the longer it is."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 8 * 365:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(major: int, unit: str, minor: int, small: str) -> str:
    return f"{major}{unit}{minor}{small}" if minor else f"{major}{unit}"


def since(timestamp: str, now_ns: int) -> str:
    """How long ago an RFC 3339 time was."""
    if not timestamp:
        return UNKNOWN
    return human_duration((now_ns - parse_time(timestamp)) // 10**9)


def age(body: Mapping[str, Any], now_ns: int) -> str:
    """How old an object is, from its JSON."""
    return since(body["metadata"].get("creationTimestamp", ""), now_ns)


def labels(pairs: Mapping[str, str]) -> str:
    """``a=b,c=d`` in key order, or <none>."""
    return ",".join(f"{k}={v}" for k, v in sorted(pairs.items())) or NONE


def json_selector(value: Mapping[str, Any] | None) -> str:
    """The same from JSON."""
    if value is None:
        return NONE
    return selector(msgspec.convert(value, LabelSelector))


def selector(value: LabelSelector | None) -> str:
    """A label selector as metav1.FormatLabelSelector prints it."""
    if value is None:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted(value.match_labels.items())]
    for need in value.match_expressions:
        values = ",".join(sorted(need.values))
        parts.append(
            {
                "In": f"{need.key} in ({values})",
                "NotIn": f"{need.key} notin ({values})",
                "Exists": need.key,
                "DoesNotExist": f"!{need.key}",
            }.get(need.operator, need.key)
        )
    return ",".join(parts) or NONE


def some(items: Sequence[str], limit: int = 3) -> str:
    """The first few, and how many more."""
    if not items:
        return NONE
    shown = ",".join(items[:limit])
    more = len(items) - limit
    return f"{shown} + {more} more..." if more > 0 else shown


def containers(template: Mapping[str, Any]) -> tuple[str, str]:
    """Names and images of a pod template's containers, comma separated."""
    found = template.get("containers") or []
    return (
        ",".join(str(c.get("name", "")) for c in found),
        ",".join(str(c.get("image", "")) for c in found),
    )
