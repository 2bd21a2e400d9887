"""DNS as people read it: names of numbers, and data as zone files and dig write it."""

from __future__ import annotations

from podwire.client.dnswire import BADVERS, RR, TYPES, Mx, Soa, Srv

_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_CLASS_NAMES = {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}

RCODES = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
)  # fmt: skip
"""Response codes by number."""


def type_name(number: int) -> str:
    """``A``, ``AAAA`` ... or ``TYPE1234`` (RFC 3597)."""
    return _TYPE_NAMES.get(number, f"TYPE{number}")


def class_name(number: int) -> str:
    """``IN``, ``CH`` ... or ``CLASS1234``."""
    return _CLASS_NAMES.get(number, f"CLASS{number}")


def rcode_name(number: int) -> str:
    """``NOERROR``, ``NXDOMAIN`` ... or ``RESERVED11``."""
    if number < len(RCODES):
        return RCODES[number]
    return "BADVERS" if number == BADVERS else f"RESERVED{number}"


def data_text(rr: RR) -> str:
    """The data of a record as zone files (and dig) write it."""
    data = rr.data
    if isinstance(data, str):
        return data
    if isinstance(data, bytes):
        return f"\\# {len(data)} {data.hex().upper()}".rstrip()
    if isinstance(data, (Srv, Soa, Mx)):
        return " ".join(str(value) for value in data)
    return " ".join('"' + _string_text(text) + '"' for text in data)


def _string_text(text: bytes) -> str:
    return "".join(
        f"\\{chr(c)}" if c in b'"\\' else chr(c) if 0x20 <= c < 0x7F else f"\\{c:03d}" for c in text
    )
