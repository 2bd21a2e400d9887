"""AdmissionReview: what a hook is asked, and what of its answer counts.

Source: apiserver pkg/admission/plugin/webhook/request, k8s.io/api/admission/v1.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from podwire.api import codec, conversion, defaults, kinds
from podwire.api.kinds import Kind
from podwire.api.managed.managers import plain
from podwire.api.patch import json_patch
from podwire.api.structure import describe
from podwire.api.view import JSON
from podwire.api.views import Object
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks.hooks import Match
from podwire.apiserver.userinfo import user_info

_VERSIONS = ("v1", "v1beta1")
_OPTIONS = {
    "create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions",
    "delete": "DeleteOptions", "deletecollection": "DeleteOptions",
}  # fmt: skip


class ReviewError(Exception):
    """What was answered is no AdmissionReview that upstream would take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hook says."""

    allowed: bool
    result: JSON
    """A Status, {} without one."""
    patch: list[JSON]
    warnings: Sequence[str]
    annotations: dict[str, str]


def version_of(accepted: Sequence[str]) -> str:
    """The version of AdmissionReview to send. Raises ReviewError."""
    for version in accepted:
        if version in _VERSIONS:
            return version
    raise ReviewError("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


# ---------------------------------------------------------------- the question


class Question:
    """A write as hooks see it: encoded once per version of its object."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self._objects: dict[Kind[Any], tuple[JSON | None, JSON | None]] = {}

    def forget(self) -> None:
        """The object was changed."""
        self._objects.clear()

    def objects(self, kind: Kind[Any]) -> tuple[JSON | None, JSON | None]:
        """``object`` and ``oldObject`` in a version."""
        found = self._objects.get(kind)
        if found is None:
            review = self.review
            shown = _shown(review, kind, review.obj, review.managed) if review.obj else None
            old = None
            if review.old is not None:
                old = _shown(review, kind, review.old, review.old_managed)
            found = self._objects[kind] = (shown, old)
        return found

    def body(self, match: Match, version: str, uid: str) -> bytes:
        """The AdmissionReview for a hook."""
        review = self.review
        call, kind = review.call, match.kind
        shown, old = self.objects(kind)
        asked = call.kind if kinds.stored(call.kind) is review.kind else review.kind
        request: JSON = {
            "uid": uid,
            "kind": _gvk(_kind_of(review) or kind),
            "resource": _gvr(kind),
            "requestKind": _gvk(_kind_of(review) or asked),
            "requestResource": _gvr(asked),
            "operation": review.operation,
            "userInfo": user_info(review.user),
            "object": shown,
            "oldObject": old,
            "dryRun": review.dry_run,
            "options": _options(review),
        }
        if review.subresource:
            request["subResource"] = request["requestSubResource"] = review.subresource
        if name := _name(review):
            request["name"] = name
        if namespace := review.namespace or (name if review.kind is kinds.NAMESPACE else ""):
            request["namespace"] = namespace
        return msgspec.json.encode({
            "kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}",
            "request": request,
        })  # fmt: skip


_SCALE = Kind(Object, "autoscaling", "v1", "Scale", "scales", "scale")


def _kind_of(review: Review) -> Kind[Any] | None:
    """The kind of the object where it is not the resource's."""
    return _SCALE if review.subresource == "scale" else review.object_kind


def _name(review: Review) -> str:
    """A name that is still to be generated is not told."""
    if review.operation == "CREATE" and not review.subresource:
        found: str = review.obj["metadata"].get("name") or ""
        return found
    return review.name


def _shown(review: Review, kind: Kind[Any], obj: JSON, managed: Sequence[JSON]) -> JSON:
    if review.subresource == "scale":
        return _scale(review, obj)
    if review.object_kind is None:
        obj = conversion.from_stored(kind, obj)
        kind_of = kind
    else:
        kind_of = review.object_kind
    shown = {**obj, "apiVersion": kind_of.api_version, "kind": kind_of.kind}
    extra: JSON = {}
    if review.revision:
        extra["resourceVersion"] = str(review.revision)
    if managed:
        extra["managedFields"] = plain(list(managed))
    if extra:
        shown["metadata"] = {**obj.get("metadata", {}), **extra}
    return shown


def _scale(review: Review, obj: JSON) -> JSON:
    """A write to /scale is one of its parent, which hooks see as the Scale."""
    from podwire.apiserver.registry import scale  # noqa: PLC0415  the registry admits

    shown = scale.shown(review.kind, obj)
    shown["metadata"]["resourceVersion"] = str(review.revision)
    return shown


def _gvk(kind: Kind[Any]) -> JSON:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _gvr(kind: Kind[Any]) -> JSON:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}


def _options(review: Review) -> JSON | None:
    """The options of the request; of an apply that creates CreateOptions."""
    if review.operation == "CONNECT":
        return None
    query, verb = review.call.query, review.call.verb
    kind = "CreateOptions" if review.operation == "CREATE" else _OPTIONS.get(verb, "UpdateOptions")
    found: JSON = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if review.dry_run:
        found["dryRun"] = ["All"]
    if kind == "DeleteOptions":
        return found
    for name in ("fieldManager", "fieldValidation"):
        if value := query.get(name):
            found[name] = value
    if kind == "PatchOptions" and query.has("force"):
        found["force"] = query.flag("force")
    return found


# ---------------------------------------------------------------- the answer


def read(body: bytes, version: str, uid: str, *, mutating: bool) -> Answer:
    """What a hook answered. Raises ReviewError."""
    try:
        found = codec.load_json(body)
    except codec.JsonError as error:
        why = f"couldn't get version/kind; json parse error: {error}"
        raise ReviewError(why) from None
    if not isinstance(found, dict) or not isinstance(found.get("response"), dict):
        raise ReviewError("webhook response was absent")
    response: JSON = found["response"]
    _check_shape(response)
    if version == "v1":
        _check_identity(found, response, uid)
    raw, kind = response.get("patch"), response.get("patchType")
    if not mutating and version == "v1":
        if raw:
            raise ReviewError("validating webhook may not return response.patch")
        if kind is not None:
            raise ReviewError("validating webhook may not return response.patchType")
    operations = _operations(raw, kind, version) if mutating and raw else []
    if mutating and version == "v1" and not raw and kind is not None:
        raise ReviewError("webhook returned response.patchType but not response.patch")
    result = response.get("status")
    return Answer(
        response.get("allowed") is True, result if isinstance(result, dict) else {}, operations,
        [w for w in response.get("warnings") or () if isinstance(w, str)],
        {k: v for k, v in (response.get("auditAnnotations") or {}).items() if isinstance(v, str)},
    )  # fmt: skip


_SHAPES = {
    "uid": (str, "types.UID"), "allowed": (bool, "bool"), "status": (dict, "v1.Status"),
    "patch": (str, "[]uint8"), "patchType": (str, "v1.PatchType"),
    "auditAnnotations": (dict, "map[string]string"), "warnings": (list, "[]string"),
}  # fmt: skip
"""The fields of an AdmissionResponse: how Python sees them in JSON, and Go's types of them."""


def _check_shape(response: JSON) -> None:
    for name, (shape, go_type) in _SHAPES.items():
        value = response.get(name)
        if value is not None and not isinstance(value, shape):
            what = f"Go struct field AdmissionResponse.response.{name} of type {go_type}"
            raise ReviewError(f"json: cannot unmarshal {describe(value)} into {what}")


def _check_identity(found: JSON, response: JSON, uid: str) -> None:
    said = response.get("uid") or ""
    if said != uid:
        raise ReviewError(f'expected response.uid="{uid}", got "{said}"')
    version, kind = found.get("apiVersion") or "", found.get("kind") or ""
    if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview"):
        expected = "admission.k8s.io/v1, Kind=AdmissionReview"
        raise ReviewError(f"expected webhook response of {expected}, got {version}, Kind={kind}")


def _operations(raw: Any, kind: Any, version: str) -> list[JSON]:
    if version == "v1" and kind is None:
        raise ReviewError("webhook returned response.patch but not response.patchType")
    if version == "v1" and kind != "JSONPatch":
        raise ReviewError(f'unsupported patch type "{kind}"')
    try:
        found = codec.load_json(base64.b64decode(raw, validate=True))
    except ValueError as error:  # of base64, or of what is in it
        raise ReviewError(f"received undecodable patch in webhook response: {error}") from None
    if not isinstance(found, list):
        raise ReviewError("received undecodable patch in webhook response: it is no list")
    return found


def patched(review: Review, kind: Kind[Any], shown: JSON, operations: list[JSON]) -> JSON:
    """The object (in its stored version, without what stands beside it) after a patch.

    Raises PatchError, ApiError.
    """
    if review.subresource == "scale":
        replicas = (json_patch(shown, operations).get("spec") or {}).get("replicas", 0)
        return {**review.obj, "spec": {**review.obj["spec"], "replicas": replicas}}
    shape = review.object_kind or kind
    found = codec.check(
        json_patch(shown, operations), shape.api_version, shape.kind, codec.IGNORE
    ).obj
    metadata = found.setdefault("metadata", {})
    metadata.pop("managedFields", None)
    metadata.pop("resourceVersion", None)
    if review.object_kind is not None:
        return found
    defaults.apply(kind, found)
    stored = conversion.to_stored(kind, found)
    if stored is not found:
        defaults.apply(review.kind, stored)
    return stored
