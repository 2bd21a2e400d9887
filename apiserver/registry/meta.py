"""Metadata rules that every kind shares. Source: apiserver pkg/registry/rest and registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podwire.api import kinds, names
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.times import format_time
from podwire.api.validation.field import invalid_error
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.calls import Call
from podwire.apiserver.registry import strategy
from podwire.apiserver.world import World

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


class _Counting(frozenset[Kind[Any]]):
    """Kinds, and all custom ones."""

    def __contains__(self, kind: object) -> bool:
        return super().__contains__(kind) or (isinstance(kind, Kind) and kind.custom is not None)


GENERATION = _Counting(
    (kinds.POD, kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET, kinds.DAEMON_SET,
     kinds.ENDPOINT_SLICE, kinds.NETWORK_POLICY, kinds.INGRESS, kinds.INGRESS_CLASS, kinds.JOB,
     kinds.POD_DISRUPTION_BUDGET, kinds.REPLICATION_CONTROLLER,
     *(kind for kind in kinds.ALL
       if kind.kind in {"CronJob", "DeviceClass", "DeviceTaintRule", "ResourceSlice"}
       or kind.group in {"admissionregistration.k8s.io", "apiextensions.k8s.io",
                         "flowcontrol.apiserver.k8s.io"}))
)  # fmt: skip
"""Kinds whose strategy counts generations."""

_KEPT_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_UNSET: tuple[Any, ...] = (None, "", [], {})


def now(server: Apiserver) -> str:
    """The present as metav1.Time."""
    return format_time(server.world.clock.now_ns())


def fit_namespace(call: Call, meta: JSON) -> None:
    """The body's namespace must be the URL's. Raises ApiError BadRequest."""
    given = meta.get("namespace") or ""
    if not call.kind.namespaced:
        meta.pop("namespace", None)
        if given:
            message = "the namespace of the provided object does not match the namespace sent on "
            raise ApiError("BadRequest", message + "the request")
        return
    if given and given != call.namespace:
        message = "the namespace of the provided object does not match the namespace sent on "
        raise ApiError("BadRequest", message + "the request")
    meta["namespace"] = call.namespace


def fit_name(call: Call, meta: JSON) -> None:
    """The body's name must be the URL's. Raises ApiError BadRequest."""
    given = meta.get("name") or ""
    if not given:
        raise ApiError("BadRequest", "name must be provided")
    if given != call.name:
        message = f"the name of the object ({given}) does not match the name on the URL"
        raise ApiError("BadRequest", f"{message} ({call.name})")


def fit_applied_name(call: Call, meta: JSON) -> None:
    """The same for what an apply made: a configuration without a name says so in other words."""
    if not meta.get("name"):
        why = f"the name of the object ({call.name} based on URL) was undeterminable"
        raise ApiError("BadRequest", f"{why}: name must be provided")
    fit_name(call, meta)


def before_create(call: Call, obj: JSON) -> None:
    """Drop what only the server may say (``Identity`` has it). Raises ApiError."""
    meta = obj["metadata"]
    if meta.get("resourceVersion") not in _UNSET:
        message = "resourceVersion should not be set on objects to be created"
        raise ApiError("BadRequest", message)
    for unwanted in ("resourceVersion", "selfLink", "generation"):
        meta.pop(unwanted, None)
    for unwanted in _KEPT_BY_SERVER:
        meta.pop(unwanted, None)
    fit_namespace(call, meta)


class Source:
    """Where chance and time come from that become part of a new object."""

    def __init__(self, world: World) -> None:
        self._world = world

    def uid(self) -> str:
        """A uid."""
        return self._world.ids.uid()

    def suffix(self) -> str:
        """The end of a name that is made up."""
        return self._world.ids.suffix()

    def now(self) -> str:
        """The present as metav1.Time."""
        return format_time(self._world.clock.now_ns())


class Identity:
    """What the server says of a new object, once admission has changed it."""

    __slots__ = ("_generates", "_generation", "_source", "_suffix", "_uid")

    def __init__(self, source: Source, kind: Kind[Any], meta: JSON) -> None:
        self._source = source
        self._uid = source.uid()
        self._generation = 1 if kind in GENERATION else 0
        self._generates = not meta.get("name") and bool(meta.get("generateName"))
        self._suffix = source.suffix() if self._generates else ""

    def give(self, meta: JSON) -> bool:
        """Write it into the metadata; whether the name was generated."""
        meta["uid"] = self._uid
        meta["creationTimestamp"] = self._source.now()
        if self._generation:
            meta["generation"] = self._generation
        if not self._generates or meta.get("name"):
            return False
        meta["name"] = names.generated_name(meta["generateName"], self._suffix)
        return True

    def rename(self, meta: JSON) -> None:
        """Give it another generated name."""
        self._suffix = self._source.suffix()
        meta["name"] = names.generated_name(meta["generateName"], self._suffix)


def before_update(call: Call, new: JSON, old: JSON, revision: int) -> None:
    """Check and complete the metadata of a replacement.

    Raises ApiError Conflict (revision, uid), Invalid.
    """
    meta, kept = new["metadata"], old["metadata"]
    meta.pop("selfLink", None)
    given = meta.pop("resourceVersion", None) or ""
    if not given and strategy.needs_revision(call.kind):
        why = "Invalid value: 0: must be specified for an update"
        raise invalid_error(call.kind, call.name, [Cause("FieldValueInvalid", why, _RV)])
    if given and given != str(revision):
        if not str(given).isdigit():
            why = f'Invalid value: "{given}": must be a valid integer'
            raise invalid_error(call.kind, call.name, [Cause("FieldValueInvalid", why, _RV)])
        raise calls.conflict(call.kind, call.name, calls.MODIFIED)
    uid = meta.get("uid")
    if uid and uid != kept.get("uid"):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {kept['uid']}"
        raise calls.conflict(call.kind, call.name, why)
    for field in _KEPT_BY_SERVER:
        if field in kept:
            meta[field] = kept[field]
        else:
            meta.pop(field, None)
    if "generation" in kept:
        meta["generation"] = kept["generation"]
    else:
        meta.pop("generation", None)
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if field in meta and meta[field] in _UNSET:
            del meta[field]


_RV = "metadata.resourceVersion"


def bump_generation(kind: Kind[Any], new: JSON, old: JSON) -> None:
    """Count up when what the user wants changed."""
    if kind not in GENERATION or "generation" not in old["metadata"]:
        return
    if wants(kind, new) != wants(kind, old):
        new["metadata"]["generation"] = old["metadata"]["generation"] + 1


def wants(kind: Kind[Any], obj: JSON) -> Any:
    """What a kind's generation counts: its spec, and for some kinds more."""
    if kind.custom is not None:
        return {name: value for name, value in obj.items() if name != "metadata"}
    if kind is kinds.ENDPOINT_SLICE:
        meta = obj["metadata"]
        return (obj.get("endpoints"), obj.get("ports"), meta.get("labels"))
    if kind is kinds.DEPLOYMENT:
        return (obj.get("spec"), obj["metadata"].get("annotations"))
    if kind.group == "admissionregistration.k8s.io" and "spec" not in obj:
        return obj.get("webhooks")
    return obj.get("spec")
