"""What the kernel says when it refuses a step, and where nft points then."""

from __future__ import annotations

from podwire.dataplane.nft.ops import Op
from podwire.dataplane.nft.text import NftError

NO_ENTRY = "No such file or directory"
EXISTS = "File exists"
BUSY = "Device or resource busy"
UNSUPPORTED = "Operation not supported"
INVALID = "Invalid argument"
LINKS = "Too many links"
FULL = "Too many open files in system"


def failed(op: Op, words: str, spot: tuple[int, int] | None = None) -> NftError:
    """The kernel refused a step."""
    start, end = spot or op.spot
    return NftError(f"Could not process rule: {words}", start, end)


def word(text: str, op: Op, wanted: str) -> tuple[int, int]:
    """Where a word of a step stands in its text."""
    start = text.rfind(wanted, op.whole[0], op.whole[1])
    return (start, start + len(wanted)) if start >= 0 else op.whole
