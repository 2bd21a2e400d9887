"""Optional values. ``or`` and ``orValue`` are the evaluator's own: they look at one side only.

Source: cel-go cel/library.go (OptionalTypes).
"""

from __future__ import annotations

from typing import Any

from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.types import BOOL, list_of, optional_of, param
from podwire.api.cel.values import FIRST_SECOND, NONE, CelError, Optional, Timestamp

V = param("V")
OPTIONAL_V, LIST_V = optional_of(V), list_of(V)


def _non_zero(value: Any) -> Optional:
    """None of what is zero or empty."""
    if isinstance(value, Timestamp):
        return NONE if value.ns == FIRST_SECOND * 10**9 else Optional(value)
    return NONE if not value else Optional(value)


def _value(optional: Optional) -> Any:
    if optional is NONE:
        raise CelError("optional.none() dereference")
    return optional.value


def _unwrap(items: list[Any]) -> list[Any]:
    return [one.value if isinstance(one, Optional) else one for one in items if one is not NONE]


function("optional.of", "optional_of", (V,), OPTIONAL_V, Optional)
function("optional.ofNonZeroValue", "optional_ofNonZeroValue", (V,), OPTIONAL_V, _non_zero)
function("optional.none", "optional_none", (), OPTIONAL_V, lambda: NONE)
method("value", "optional_value", (OPTIONAL_V,), V, _value)
method("hasValue", "optional_hasValue", (OPTIONAL_V,), BOOL, lambda one: one is not NONE)
method("or", "optional_or_optional", (OPTIONAL_V, OPTIONAL_V), OPTIONAL_V, _value)
method("orValue", "optional_orValue_value", (OPTIONAL_V, V), V, _value)
method(
    "first",
    "list_first",
    (LIST_V,),
    OPTIONAL_V,
    lambda items: Optional(items[0]) if items else NONE,
)
method(
    "last", "list_last", (LIST_V,), OPTIONAL_V, lambda items: Optional(items[-1]) if items else NONE
)
function("optional.unwrap", "optional_unwrap", (list_of(OPTIONAL_V),), LIST_V, _unwrap)
method("unwrapOpt", "optional_unwrapOpt", (list_of(OPTIONAL_V),), LIST_V, _unwrap)
