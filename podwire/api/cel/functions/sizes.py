"""``size`` of texts, bytes, lists and maps."""

from __future__ import annotations

from podwire.api.cel.functions.operators import LIST_A, MAP_AB
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.types import BYTES, INT, STRING

for _kind, _type in (("bytes", BYTES), ("list", LIST_A), ("map", MAP_AB), ("string", STRING)):
    function("size", f"size_{_kind}", (_type,), INT, len)
    method("size", f"{_kind}_size", (_type,), INT, len)
