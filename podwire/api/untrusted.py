"""JSON that anybody may have written."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoded(body: bytes | msgspec.Raw, shape: type[T]) -> T:
    """A value of that shape (``object`` for any). Raises ValueError, whatever the bytes are: also
    for text that is no UTF-8, and for what is nested deeper than the decoder goes.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except RecursionError:
        raise ValueError("JSON is nested too deep") from None
