"""Field selectors: which fields a kind has, parsing, matching, canonical text.

Source of the behaviour: apimachinery pkg/fields and each group's field label conversion. Parse
errors are ApiError BadRequest with upstream's wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.status import ApiError


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """``field=value``, or ``field!=value``."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        return f"{self.field}{'=' if self.equal else '!='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold on an object's selectable fields."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether an object in JSON form is selected."""
        return all((field_of(obj, r.field) == r.value) is r.equal for r in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether nothing is filtered out."""
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The value demanded of ``field``, if any."""
        return next((r.value for r in self.requirements if r.field == field and r.equal), None)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


_META_FIELDS = ("metadata.name", "metadata.namespace")
_SELECTABLE: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicationcontrollers": ("status.replicas",),
    "replicasets.apps": ("status.replicas",),
    "statefulsets.apps": ("status.successful",),
    "jobs.batch": ("status.successful",),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
        "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
        "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
    ),
    "events.events.k8s.io": (
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
        "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "reason",
        "reportingController", "source", "type",
    ),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "clustertrustbundles.certificates.k8s.io": ("spec.signerName",),
    "podcertificaterequests.certificates.k8s.io": (
        "spec.signerName", "spec.podName", "spec.nodeName",
    ),
    "resourceslices.resource.k8s.io": ("spec.nodeName", "spec.driver"),
}  # fmt: skip
"""Beside the metadata. Source: pkg/apis/*/v1/conversion.go (AddFieldLabelConversionFunc)."""
_WITHOUT_NAMESPACE = frozenset((
    "nodes", "namespaces", "resourceslices.resource.k8s.io",
    "certificatesigningrequests.certificates.k8s.io", "clustertrustbundles.certificates.k8s.io",
    "podcertificaterequests.certificates.k8s.io",
))  # fmt: skip
"""Kinds that are selected by metadata.name but not by metadata.namespace."""
_ALIASES = {("pods", "spec.host"): "spec.nodeName"}
_BOOLEANS = frozenset(("spec.hostNetwork", "spec.unschedulable"))
_NUMBERS = frozenset(("status.replicas", "status.successful"))


def selectable_fields(kind: Kind[Any]) -> tuple[str, ...]:
    """The fields by which a kind's collection can be filtered."""
    if kind.custom is not None:
        metadata = _META_FIELDS if kind.namespaced else _META_FIELDS[:1]
        return (*metadata, *kind.custom.selectable)
    own = _SELECTABLE.get(kind.resource, ())
    return (_META_FIELDS[0], *own) if kind.resource in _WITHOUT_NAMESPACE else (*_META_FIELDS, *own)


def field_of(obj: Mapping[str, Any], field: str) -> str:
    """The text of a selectable field, '' when absent, as upstream's field sets hold it."""
    if field == "source":
        source = obj.get("source") or obj.get("deprecatedSource") or {}
        reporter = obj.get("reportingComponent") or obj.get("reportingController")
        return str(source.get("component") or reporter or "")
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if field in _BOOLEANS:
        return "true" if value is True else "false"
    if field in _NUMBERS:
        return str(value or 0)
    if field == "status.podIPs":
        return ",".join(str(ip.get("ip", "")) for ip in value or ())
    return "" if value is None else str(value)


def text_of(obj: Mapping[str, Any], field: str) -> str:
    """The text of a custom object's selectable field, '' when absent."""
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def parse_fields(text: str, kind: Kind[Any]) -> FieldSelector:
    """A field selector string. Raises ApiError BadRequest (syntax, or a field not selectable)."""
    supported = selectable_fields(kind)
    found: dict[FieldRequirement, None] = {}
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        field, operator, value = _split_term(text, term)
        field = _ALIASES.get((kind.resource, field), field)
        if field not in supported:
            raise ApiError("BadRequest", _unsupported(kind, field))
        found[FieldRequirement(field, _unescaped(value), operator != "!=")] = None
    return FieldSelector(tuple(found))


def _unsupported(kind: Kind[Any], field: str) -> str:
    """Each group words it differently; kubectl puts "Unable to find ..." in front."""
    if kind.custom is not None:
        return f"field label not supported: {field}"
    if kind.resource not in _SELECTABLE:
        known = ", ".join(f'"{name}"' for name in _META_FIELDS)
        return f'"{field}" is not a known field selector: only {known}'
    if kind.resource == "jobs.batch":
        return f'field label "{field}" not supported for batchv1.Job'
    if kind.resource == "resourceslices.resource.k8s.io":
        return f"field label not supported for {kind.api_version}, Kind={kind.kind}: {field}"
    if kind.group == "apps":
        return f"field label not supported for {kind.group}{kind.version}.{kind.kind}: {field}"
    return f"field label not supported: {field}"


def _split_terms(text: str) -> Sequence[str]:
    terms: list[str] = []
    start, escaped = 0, False
    for i, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(text[start:i])
            start = i + 1
    terms.append(text[start:])
    return terms


def _split_term(text: str, term: str) -> tuple[str, str, str]:
    for i in range(len(term)):
        for operator in ("!=", "==", "="):
            if term.startswith(operator, i):
                return term[:i], operator, term[i + len(operator) :]
    raise ApiError("BadRequest", f"invalid selector: '{text}'; can't understand '{term}'")


def _unescaped(value: str) -> str:
    found: list[str] = []
    escaped = False
    for char in value:
        if escaped:
            if char not in "\\,=":
                message = f"invalid field selector: invalid escape sequence: \\{char}"
                raise ApiError("BadRequest", message)
            escaped = False
            found.append(char)
        elif char == "\\":
            escaped = True
        elif char in ",=":
            message = f"invalid field selector: unescaped character in value: {ord(char)}"
            raise ApiError("BadRequest", message)
        else:
            found.append(char)
    if escaped:
        raise ApiError("BadRequest", "invalid field selector: invalid escape sequence: \\")
    return "".join(found)
