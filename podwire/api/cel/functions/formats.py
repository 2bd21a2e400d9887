"""Named formats: ``format.dns1123Label().validate(text)`` tells what is wrong with a text.

Source: Kubernetes' apiserver pkg/cel/library/format.go; base64, dates and UUIDs as kube-openapi's
strfmt has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date
from typing import Any

from podwire.api import names
from podwire.api.cel.functions import costs
from podwire.api.cel.functions.registry import function, method
from podwire.api.cel.functions.urls import UrlError, parse_request_uri
from podwire.api.cel.types import STRING, list_of, opaque, optional_of
from podwire.api.cel.values import NONE, Optional, name_type

FORMAT = opaque("kubernetes.NamedFormat")
_UUID = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[tT\s]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([zZ]|[+-]\d\d:\d\d)", re.ASCII
)


class Format:
    """A format: its name, what checks it, and how long upstream takes its pattern to be."""

    __slots__ = ("check", "name", "pattern_length")

    def __init__(self, name: str, pattern_length: int, check: Callable[[str], list[str]]) -> None:
        self.name = name
        self.pattern_length = pattern_length
        self.check = check


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A check of what a name begins with: a dash at its end is fine."""
    return lambda text: check(f"{text[:-1]}a" if len(text) > 1 and text[-1] == "-" else text)


def _uri(text: str) -> list[str]:
    try:
        parse_request_uri(text)
    except UrlError as wrong:
        return [str(wrong)]
    return []


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None


def _either(test: Callable[[str], Any], complaint: str) -> Callable[[str], list[str]]:
    return lambda text: [] if test(text) else [complaint]


_label, _subdomain, _label1035 = names.dns1123_label, names.dns1123_subdomain, names.dns1035_label
FORMATS: dict[str, Format] = {
    "dns1123Label": Format("DNS1123Label", 30, _label),
    "dns1123Subdomain": Format("DNS1123Subdomain", 60, _subdomain),
    "dns1035Label": Format("DNS1035Label", 30, _label1035),
    "qualifiedName": Format("QualifiedName", 60, names.label_key),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", 30, _prefix(_label)),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", 60, _prefix(_subdomain)),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", 30, _prefix(_label1035)),
    "labelValue": Format("LabelValue", 40, names.label_value),
    "uri": Format("URI", 1103, _uri),
    "uuid": Format("uuid", 71, _either(_UUID.fullmatch, "does not match the UUID format")),
    "byte": Format("byte", 84, _either(_BASE64.fullmatch, "invalid base64")),
    "date": Format("date", 71, _either(_is_date, "invalid date")),
    "datetime": Format(
        "datetime", 71,
        _either(lambda text: _MOMENT.fullmatch(text) and _is_date(text[:10]), "invalid datetime"),
    ),
}  # fmt: skip


def _validate(format: Format, text: str) -> Optional:
    wrong = format.check(text)
    return Optional(list(wrong)) if wrong else NONE


def _cost(args: tuple[Any, ...], _: Any) -> int:
    text = math.ceil((1.0 + len(args[1])) * costs.TENTH)
    return text * math.ceil(float(args[0].pattern_length) * costs.QUARTER)


def _named(name: str) -> Optional:
    found = FORMATS.get(name)
    return NONE if found is None else Optional(found)


for _name, _format in FORMATS.items():
    function(f"format.{_name}", f"format.{_name}", (), FORMAT, lambda one=_format: one)
_COMPLAINTS = optional_of(list_of(STRING))
method("validate", "format-validate", (FORMAT, STRING), _COMPLAINTS, _validate, _cost)
function("format.named", "format-named", (STRING,), optional_of(FORMAT), _named)
name_type(Format, "kubernetes.NamedFormat")
