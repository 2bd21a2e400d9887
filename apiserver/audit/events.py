"""One audit event as JSON: audit.k8s.io/v1 Event, keys in upstream's order (pure).

Source: apiserver pkg/apis/audit/v1 (types.go) and pkg/audit (request.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podwire.api import untrusted
from podwire.api.view import JSON
from podwire.apiserver.authorization.attributes import Attributes
from podwire.client.counters import Request, Response, User

RECEIVED, STARTED, COMPLETE = "RequestReceived", "ResponseStarted", "ResponseComplete"
DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
MAX_AGENT = 1024
_TRUNCATED = "...TRUNCATED"
_STATUS = ("status", "message", "reason", "details", "code")


def user_of(user: User) -> JSON:
    """authentication/v1 UserInfo, what is empty left out."""
    info: JSON = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {key: list(values) for key, values in user.extra}
    return {key: value for key, value in info.items() if value}


def begun(request: Request, asked: Attributes, level: str, id: str, uri: str, at: str) -> JSON:
    """What is known of a request when it arrives."""
    event: JSON = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level, "auditID": id,
        "stage": RECEIVED, "requestURI": uri, "verb": asked.verb, "user": user_of(asked.user),
    }  # fmt: skip
    if request.client:
        event["sourceIPs"] = [request.client]
    agent = request.headers.get("user-agent", "")
    if agent:
        event["userAgent"] = agent if len(agent) <= MAX_AGENT else agent[:MAX_AGENT] + _TRUNCATED
    if not asked.path:
        named = {
            "resource": asked.resource, "namespace": asked.namespace, "name": asked.name,
            "apiGroup": asked.group, "apiVersion": asked.version, "subresource": asked.subresource,
        }  # fmt: skip
        event["objectRef"] = {key: value for key, value in named.items() if value}
    event["requestReceivedTimestamp"] = event["stageTimestamp"] = at
    return event


def at_stage(event: JSON, stage: str, at: str, **more: Any) -> JSON:
    """The same event at a later stage."""
    later = {**event, "stage": stage}
    del later["requestReceivedTimestamp"], later["stageTimestamp"]
    later |= {key: value for key, value in more.items() if value is not None and value != {}}
    annotations = later.pop("annotations", None)
    later["requestReceivedTimestamp"] = event["requestReceivedTimestamp"]
    later["stageTimestamp"] = at
    if annotations:
        later["annotations"] = annotations
    return later


def named_by(event: JSON, obj: Mapping[str, Any]) -> JSON:
    """The event, whose object the body names where the URL did not."""
    ref, meta = event.get("objectRef"), obj.get("metadata")
    if ref is None or not isinstance(meta, dict):
        return event
    found = {
        key: meta[key]
        for key in ("namespace", "name", "uid", "resourceVersion")
        if not ref.get(key) and isinstance(meta.get(key), str) and meta[key]
    }
    return {**event, "objectRef": {**ref, **found}} if found else event


def response_status(response: Response) -> JSON:
    """metav1.Status with what an answer says of itself."""
    told: JSON = {"metadata": {}}
    if response.status >= 400:
        body = decoded(response.body)
        if isinstance(body, dict) and body.get("kind") == "Status":
            told |= {key: body[key] for key in _STATUS if body.get(key)}
    return {**told, "code": response.status}


def decoded(body: bytes) -> Any:
    """A body that may be JSON; None for another."""
    try:
        return untrusted.decoded(body, object)
    except ValueError:
        return None


def without_managed(obj: Any) -> Any:
    """An object, or a list of them, without managedFields."""
    if not isinstance(obj, dict):
        return obj
    if isinstance(obj.get("items"), list):
        return {**obj, "items": [without_managed(item) for item in obj["items"]]}
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
