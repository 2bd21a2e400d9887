"""What a request means: upstream's RequestInfo, plus parsed query parameters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from podwire.api import field_selectors, kinds
from podwire.api.kinds import Kind, Registry
from podwire.api.status import ApiError, Cause
from podwire.apiserver.authorization.attributes import Attributes
from podwire.client.counters import Request, User

PROXY = "proxy"
_NAMESPACE_SUBRESOURCES = ("status", "finalize")
_OBJECT_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}


class Query:
    """Query parameters read as upstream reads them: the first value wins, unknown ones ignored."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: tuple[tuple[str, str], ...]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        """The first value, or ''."""
        for key, value in self._pairs:
            if key == name:
                return value
        return ""

    def has(self, name: str) -> bool:
        """Whether the parameter is present at all."""
        return any(key == name for key, _ in self._pairs)

    def all(self, name: str) -> list[str]:
        """Every value, in order (``command=`` of exec)."""
        return [value for key, value in self._pairs if key == name]

    def flag(self, name: str) -> bool:
        """A bool as apimachinery converts it: anything but ``false`` and ``0`` is true."""
        return self.has(name) and self.get(name).lower() not in {"false", "0"}

    def number(self, name: str) -> int | None:
        """An integer, None when absent or empty. Raises ApiError BadRequest with Go's message."""
        text = self.get(name)
        if not text:
            return None
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise ApiError("BadRequest", f'strconv.ParseInt: parsing "{text}": invalid syntax')
        return int(text)


@dataclass(slots=True)
class Call:
    """One request on a resource. ``name`` is '' for a collection, ``namespace`` '' for none."""

    request: Request
    user: User
    kind: Kind[Any]
    verb: str
    namespace: str
    name: str
    subresource: str
    query: Query
    tail: str = ""
    """Of a proxy subresource: what of the path stands behind it, with its first slash."""
    warnings: list[str] = dataclasses.field(default_factory=list)
    """Texts for ``Warning: 299`` headers of the answer."""
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    """What plugins add to the audit event."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be persisted. Raises ApiError for an unknown dryRun value."""
        if not self.request.query:
            return False
        values = self.query.all("dryRun")
        if any(value != "All" for value in values):
            listed = ",".join(json.dumps(value) for value in values)
            why = f'Unsupported value: [{listed}]: supported values: "All"'
            raise bad_option(self, "dryRun", "FieldValueNotSupported", why)
        return bool(values)

    @property
    def attributes(self) -> Attributes:
        """What an authorizer is asked. A namespace lies in itself, and a list or watch of one name
        is a question about that name (RequestInfo).
        """
        kind, namespace, name = self.kind, self.namespace, self.name
        if kind is kinds.NAMESPACE:
            namespace = name
        fields: tuple[tuple[str, str], ...] = ()
        if not name and self.request.query and self.verb != "create":
            fields = demanded(kind, self.query.get("fieldSelector"))
            name = next((value for field, value in fields if field == "metadata.name"), "")
        return Attributes(
            self.user, self.verb, kind.group, kind.version, kind.plural, self.subresource,
            namespace, name, "", fields,
        )  # fmt: skip

    @property
    def content_type(self) -> str:
        """The body's media type without parameters; JSON when none was sent."""
        header = self.request.headers.get("content-type", "")
        return header.partition(";")[0].strip().lower() or "application/json"

    def not_found(self) -> ApiError:
        """``pods "x" not found``."""
        return not_found(self.kind, self.name)


def demanded(kind: Kind[Any], text: str) -> tuple[tuple[str, str], ...]:
    """The fields for which a field selector demands one value, () when it cannot be read."""
    if not text:
        return ()
    try:
        found = field_selectors.parse_fields(text, kind)
    except ApiError:
        return ()
    return tuple((r.field, r.value) for r in found.requirements if r.equal)


def details(kind: Kind[Any], name: str) -> dict[str, Any]:
    """The ``details`` that name an object in a Status."""
    found = {"name": name} if name else {}
    if kind.group:
        found["group"] = kind.group
    found["kind"] = kind.plural
    return found


def not_found(kind: Kind[Any], name: str) -> ApiError:
    """``pods "x" not found``."""
    return ApiError("NotFound", f'{kind.resource} "{name}" not found', 0, details(kind, name))


def already_exists(kind: Kind[Any], name: str) -> ApiError:
    """``pods "x" already exists``."""
    message = f'{kind.resource} "{name}" already exists'
    return ApiError("AlreadyExists", message, 0, details(kind, name))


def conflict(kind: Kind[Any], name: str, why: str, subresource: str = "") -> ApiError:
    """``Operation cannot be fulfilled on pods "x": <why>``."""
    resource = f"{kind.resource}/{subresource}" if subresource else kind.resource
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError("Conflict", message, 0, details(kind, name))


def forbidden(kind: Kind[Any], name: str, why: str) -> ApiError:
    """``pods "x" is forbidden: <why>``."""
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    return ApiError("Forbidden", f"{subject} is forbidden: {why}", 0, details(kind, name))


_OPTIONS = {
    "create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions",
    "delete": "DeleteOptions", "deletecollection": "ListOptions", "list": "ListOptions",
    "watch": "ListOptions",
}  # fmt: skip


def bad_option(call: Call, field: str, reason: str, why: str) -> ApiError:
    """422 for a query parameter: ``ListOptions.meta.k8s.io "" is invalid: <field>: <why>``."""
    options = _OPTIONS.get(call.verb, "ListOptions")
    return ApiError(
        "Invalid",
        f'{options}.meta.k8s.io "" is invalid: {field}: {why}',
        details={"group": "meta.k8s.io", "kind": options},
        causes=(Cause(reason, why, field),),
    )


def bad_options(options: str, causes: Sequence[Cause]) -> ApiError:
    """422 for query parameters or an options body: ``DeleteOptions.meta.k8s.io "" is invalid``."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return ApiError(
        "Invalid",
        f'{options}.meta.k8s.io "" is invalid: {listed}',
        details={"group": "meta.k8s.io", "kind": options},
        causes=tuple(causes),
    )


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)
"""Why an update lost an optimistic race."""


def parse(request: Request, user: User, served: Registry) -> Call | None:
    """The resource request a path stands for, or None when it names no served resource.

    Raises ApiError MethodNotAllowed for a method that the resource does not have.
    """
    meant = _remembered(request.path, served)
    if meant is None:
        return None
    call = Call(
        request, user, meant.kind, "", meant.namespace, meant.name, meant.subresource,
        Query(request.query), meant.tail,
    )  # fmt: skip
    call.verb = _verb(call, watched=meant.watched)
    return call


def asked(request: Request, user: User) -> Attributes:
    """What an authorizer is asked about a path that names nothing served here, or is no resource:
    upstream's RequestInfo, which knows resources by the form of their paths only.
    """
    verb, parts = request.method.lower(), request.path.strip("/").split("/")
    group = ""
    if parts[0] == "api" and len(parts) >= 3:
        version, parts = parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return Attributes(user, verb, path=request.path)
    verb = {"head": "get", "get": "get", "post": "create", "put": "update"}.get(verb, verb)
    namespace = ""
    if parts[0] == "watch" and len(parts) > 1:
        verb, parts = "watch", parts[1:]
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = unquote(parts[1])
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    resource, name, subresource = ([unquote(part) for part in parts] + ["", ""])[:3]
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
        if verb == "list" and Query(request.query).flag("watch"):
            verb = "watch"
    return Attributes(user, verb, group, version, resource, subresource, namespace, name)


REMEMBERED_PATH = 256
"""How long a path is at most whose meaning is remembered: anybody may ask for any."""


class _Meaning(NamedTuple):
    """What a path names."""

    kind: Kind[Any]
    namespace: str
    name: str
    subresource: str
    tail: str
    watched: bool


def _remembered(path: str, served: Registry) -> _Meaning | None:
    """``_meaning``, remembered: clients ask for the same."""
    if len(path) > REMEMBERED_PATH:
        return _meaning(path, served)
    known = served.meanings
    try:
        found: _Meaning | None = known[path]
    except KeyError:
        if len(known) >= _REMEMBERED:
            known.clear()
        found = known[path] = _meaning(path, served)
    return found


_REMEMBERED = 4096


def _meaning(path: str, served: Registry) -> _Meaning | None:
    """What a path names, None for no served resource."""
    parts = path.strip("/").split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watched = rest[0] == "watch" and len(rest) > 1  # the old way to say ?watch=true
    if watched:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    kind = served.by_plural(group, version, rest[0])
    if kind is None or (namespace and not kind.namespaced):
        return None
    proxied = len(rest) > 2 and rest[2] == PROXY and PROXY in kind.subresources
    if len(rest) > 3 and not proxied:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and (watched or subresource not in kind.parts):
        return None
    if kind.namespaced and name and not namespace:
        return None
    tail = ""
    if proxied:
        before = len(parts) - len(rest) + 3
        tail = path[len("/".join(path.split("/")[: before + 1])) :]
    return _Meaning(kind, namespace, name, subresource, tail, watched)


def _verb(call: Call, *, watched: bool) -> str:
    method = call.request.method
    if call.subresource == PROXY:
        method = {"HEAD": "GET", "OPTIONS": "GET"}.get(method, method)
    if call.subresource:
        # A subresource with its own verb (binding, exec) takes part as create or get.
        verb = {**_OBJECT_VERBS, "POST": "create"}.get(method, "")
    elif call.name:
        verb = _OBJECT_VERBS.get(method, "")
    else:
        verb = _COLLECTION_VERBS.get(method, "")
        if call.kind.namespaced and not call.namespace and verb != "list":
            verb = ""
    if verb in {"get", "list"} and not call.subresource:
        verb = "watch" if watched or call.query.flag("watch") else verb
    elif watched:
        verb = ""
    if not verb or (not call.subresource and verb not in call.kind.verbs):
        raise method_not_allowed()
    return verb


def method_not_allowed() -> ApiError:
    """405, in upstream's words."""
    message = "the server does not allow this method on the requested resource"
    return ApiError("MethodNotAllowed", message)
