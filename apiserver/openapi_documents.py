"""OpenAPI documents made of the derived definitions: v3 per group version, v2 for everything.

Descriptions are not in the definitions; where the package kubernetes-validate is installed (extra
``podwire[explain]``) they are read from its data when a document is made, and not kept.
Source of the forms: kubernetes api/openapi-spec, kube-openapi pkg/builder{,3}.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from podwire.api import schema
from podwire.api.codec import ACCEPTED, TEXTUAL
from podwire.api.crd import documents
from podwire.api.kinds import Kind, Subresource
from podwire.api.patch import STRATEGIC_PATCH_TYPE
from podwire.api.view import JSON
from podwire.apiserver.discovery import Kinds, group_versions, kinds_of

PROSE = "kubernetes-json-schema/v1.37.0-local/_definitions.json"
"""Where kubernetes-validate keeps the described definitions."""

_REF, _REF_V2 = "#/components/schemas/", "#/definitions/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit",
    "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_INTEGERS = frozenset(("limit", "timeoutSeconds", "gracePeriodSeconds"))
_BOOLEANS = frozenset(("allowWatchBookmarks", "sendInitialEvents", "watch", "orphanDependents"))
_STATUSES = {
    "post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201"),
    "delete": ("200", "202"),
}  # fmt: skip
"""What an action may succeed with beside 200, as upstream documents it."""
_DESCRIPTIONS = {"200": "OK", "201": "Created", "202": "Accepted"}
_TEXT = {"type": "string", "uniqueItems": True}
_METHODS = {
    "create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete",
}  # fmt: skip


def ingredients() -> str:
    """A digest of everything that documents are made of, this module included."""
    digest = hashlib.sha512(Path(__file__).read_bytes())
    for name in ("openapi.json.gz", "types.json", "kinds.json"):
        digest.update(files("podwire.api.data").joinpath(name).read_bytes())
    path = _prose_path()
    if path is not None:
        digest.update(f"{path} {path.stat().st_size}".encode())
    return digest.hexdigest()


class Definitions:
    """The definitions, with descriptions where they are at hand."""

    def __init__(self, own: Kinds = ()) -> None:
        self.own = own
        self.schemas = schema.openapi_schemas()
        prose = _prose()
        for name, definition in self.schemas.items():
            if name in prose:
                _describe(definition, prose[name])
        for kind in own:
            self.schemas |= documents.definitions(kind, _REF)

    def v3(self, group: str, version: str) -> JSON:
        """The document of a group version."""
        served = [(kind, self._name(kind)) for kind in kinds_of(group, version, self.own)]
        paths: JSON = {}
        roots = [f"{_META}.{name}" for name in ("APIResourceList", "DeleteOptions", "Status")]
        for kind, name in served:
            if not name:  # podwire's own kinds have none
                continue
            listed = self._listed(kind, name)
            roots += [name, *([listed] if listed in self.schemas else [])]
            found = self._paths(kind, name)
            for part in kind.parts.values():
                own = self._part_name(kind, part)
                roots += [own] if own else []
                found |= self._part_paths(kind, part, own)
            for path, item in found.items():
                item["parameters"] = _path_parameters(kind, path)
            paths |= found
        roots.append(f"{_META}.Patch")
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1"},
            "paths": paths,
            "components": {"schemas": {name: _v3(self.schemas[name]) for name in self._all(roots)}},
        }

    def v2(self) -> JSON:
        """All definitions, and the paths by which clients find the kinds."""
        paths: JSON = {}
        for kind in self.own:
            self.schemas |= documents.definitions(kind, _REF, v2=True)
        for group, version in group_versions(self.own):
            for kind in kinds_of(group, version, self.own):
                name = self._name(kind)
                if name:
                    paths |= _v2_paths(kind, name)
        definitions = {name: _v2(definition) for name, definition in self.schemas.items()}
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1.37.1"},
            "paths": paths,
            "definitions": definitions,
        }

    def _name(self, kind: Kind[Any]) -> str:
        if kind.custom is not None:
            return documents.name_of(kind)
        name = schema.openapi_name(kind) or ""
        return name if name in self.schemas else ""

    def _part_name(self, kind: Kind[Any], part: Subresource) -> str:
        """The definition of what a subresource takes and gives; '' for connections."""
        if kind.custom is not None and not part.group_version:
            return documents.name_of(kind)
        found = schema.type_of_gvk(part.group_version or kind.api_version, part.kind)
        name = schema.definition_name(found.name) if found is not None else ""
        return name if name in self.schemas else ""

    @staticmethod
    def _listed(kind: Kind[Any], name: str) -> str:
        return f"{name.removesuffix(kind.kind)}{kind.list_kind}"

    def _all(self, roots: list[str]) -> list[str]:
        """The roots and everything they refer to, sorted."""
        found = dict.fromkeys(roots)
        waiting = list(found)
        while waiting:
            for name in _references(self.schemas[waiting.pop()]):
                if name not in found:
                    found[name] = None
                    waiting.append(name)
        return sorted(found)

    # ------------------------------------------------------------ paths of v3

    def _paths(self, kind: Kind[Any], name: str) -> JSON:
        namespace = "{namespace}" if kind.namespaced else ""
        listed = self._listed(kind, name)
        collection = {}
        if "list" in kind.verbs:
            collection["get"] = _operation(kind, "list", listed, "list", _LIST)
        if "create" in kind.verbs:
            collection["post"] = _operation(kind, "create", name, "post", _WRITE, _body(name))
        if "deletecollection" in kind.verbs:
            collection["delete"] = _operation(
                kind, "deletecollection", f"{_META}.Status", "deletecollection", _LIST + _DELETE
            )
        paths = {kind.path(namespace): collection}
        item = self._item(kind, kind.verbs, name)
        if item:
            paths[kind.path(namespace, "{name}")] = item
        if namespace and "list" in kind.verbs:
            paths[kind.path()] = {"get": _operation(kind, "listAll", listed, "list", _LIST)}
        return paths

    def _part_paths(self, kind: Kind[Any], part: Subresource, name: str) -> JSON:
        path = kind.path("{namespace}" if kind.namespaced else "", "{name}", part.name)
        item = self._item(kind, part.verbs, name, part)
        if "create" in part.verbs:
            body = _body(name) if name else None
            item["post"] = _operation(kind, "create", name, "post", _WRITE, body, part)
        return {path: item} if item else {}

    @staticmethod
    def _item(
        kind: Kind[Any], verbs: tuple[str, ...], name: str, part: Subresource | None = None
    ) -> JSON:
        found: JSON = {}
        if "get" in verbs:
            found["get"] = _operation(kind, "get", name, "get", (), None, part)
        if "update" in verbs:
            body = _body(name) if name else None
            found["put"] = _operation(kind, "update", name, "put", _WRITE, body, part)
        if "patch" in verbs:
            patch = {"schema": {"$ref": f"{_REF}{_META}.Patch"}}
            body = {"content": dict.fromkeys(_patches(kind), patch), "required": True}
            parameters = (*_WRITE, "force")
            found["patch"] = _operation(kind, "patch", name, "patch", parameters, body, part)
        if "delete" in verbs:
            body = {"content": {"*/*": {"schema": {"$ref": f"{_REF}{_META}.DeleteOptions"}}}}
            status = f"{_META}.Status" if part is None and not kind.returned else name
            found["delete"] = _operation(kind, "delete", status, "delete", _DELETE, body, part)
        return found


def _patches(kind: Kind[Any]) -> tuple[str, ...]:
    """The patches that a kind takes; custom objects have no strategy to merge by."""
    if kind.custom is None:
        return _PATCHES
    return tuple(media for media in _PATCHES if media != STRATEGIC_PATCH_TYPE)


def _operation(
    kind: Kind[Any], verb: str, name: str, action: str, parameters: tuple[str, ...],
    body: JSON | None = None, part: Subresource | None = None,
) -> JSON:  # fmt: skip
    answer: JSON = {"schema": {"$ref": _REF + name} if name else {"type": "string"}}
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    if part is not None:
        group, _, version = (part.group_version or kind.api_version).rpartition("/")
        gvk = {"group": group, "version": version, "kind": part.kind}
    suffix = part.name.capitalize() if part is not None else ""
    group_version = "".join(p.capitalize() for p in kind.group.partition(".")[0].split("-"))
    where = f"{group_version or 'Core'}{kind.version.capitalize()}"
    media = (ACCEPTED if kind.custom is None else TEXTUAL) if name else ("*/*",)
    told: JSON = {
        "operationId": f"{verb}{where}{kind.kind}{suffix}",
        "parameters": [_parameter(parameter) for parameter in parameters],
        "responses": {
            **{
                code: {"description": _DESCRIPTIONS[code], "content": dict.fromkeys(media, answer)}
                for code in _STATUSES.get(action, ("200",))
            },
            "401": {"description": "Unauthorized"},
        },
        "tags": [f"{kind.group.partition('.')[0] or 'core'}_{kind.version}"],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }
    return told | ({"requestBody": body} if body else {})


def _parameter(name: str) -> JSON:
    type_ = "integer" if name in _INTEGERS else "boolean" if name in _BOOLEANS else "string"
    return {"name": name, "in": "query", "schema": {"type": type_, "uniqueItems": True}}


def _path_parameters(kind: Kind[Any], path: str) -> list[JSON]:
    """What stands in braces in a path, which every operation there needs, and ``pretty``."""
    told = {"{name}": f"name of the {kind.kind}", "{namespace}": "object name and auth scope"}
    required = {"in": "path", "required": True}
    return [
        {"name": part[1:-1], "description": told[part], **required, "schema": _TEXT}
        for part in path.split("/")
        if part in told
    ] + [_parameter("pretty")]


def _body(name: str) -> JSON:
    return {"content": {"*/*": {"schema": {"$ref": _REF + name}}}, "required": True}


# ---------------------------------------------------------------- forms of a definition


def _v3(node: Any) -> Any:
    """As kube-apiserver serves it: a reference with something beside it is an allOf."""
    if isinstance(node, list):
        return [_v3(item) for item in node]
    if not isinstance(node, dict):
        return node
    fields = {key: _v3(value) for key, value in node.items()}
    if isinstance(fields.get("$ref"), str) and len(fields) > 1:
        return {"allOf": [{"$ref": fields.pop("$ref")}], **fields}
    return fields


def _v2(node: Any) -> Any:
    """In swagger's words: other references, one type instead of oneOf."""
    if isinstance(node, list):
        return [_v2(item) for item in node]
    if not isinstance(node, dict):
        return node
    fields = {key: _v2(value) for key, value in node.items()}
    if isinstance(fields.get("$ref"), str):
        fields["$ref"] = fields["$ref"].replace(_REF, _REF_V2)
    if isinstance(fields.get("oneOf"), list):
        del fields["oneOf"]
        fields["type"] = "string"
    return fields


def _v2_paths(kind: Kind[Any], name: str) -> JSON:
    """Enough to find a kind's definition, and what its server can do."""
    namespace = "{namespace}" if kind.namespaced else ""
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    found: JSON = {}
    for verb in kind.verbs:
        method = _METHODS.get(verb)
        if method is None:
            continue
        path = kind.path(namespace, "" if verb == "create" else "{name}")
        parameters: list[JSON] = []
        if verb in {"create", "update", "patch"}:
            parameters = [
                {"name": parameter, "in": "query", "type": "string", "uniqueItems": True}
                for parameter in _WRITE
            ]
            given = f"{_META}.Patch" if verb == "patch" else name
            parameters.append(
                {
                    "name": "body",
                    "in": "body",
                    "required": True,
                    "schema": {"$ref": _REF_V2 + given},
                }
            )
        found.setdefault(path, {})[method] = {
            "consumes": list(_patches(kind)) if verb == "patch" else ["*/*"],
            "produces": list(ACCEPTED if kind.custom is None else TEXTUAL),
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "schema": {"$ref": _REF_V2 + name}}},
            "x-kubernetes-action": method,
            "x-kubernetes-group-version-kind": gvk,
        }
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].removeprefix(_REF)] if isinstance(node.get("$ref"), str) else []
    return own + [name for value in node.values() for name in _references(value)]


# ---------------------------------------------------------------- descriptions


def _prose() -> dict[str, JSON]:
    """The described definitions, {} when kubernetes-validate (1.37) is not installed."""
    path = _prose_path()
    if path is None:
        return {}
    definitions: dict[str, JSON] = msgspec.json.decode(path.read_bytes())["$defs"]
    return definitions


def _prose_path() -> Path | None:
    found = find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / PROSE
    return path if path.is_file() else None


def _describe(node: JSON, prose: Any) -> None:
    """Take over the descriptions of a definition and of what it holds."""
    if not isinstance(prose, dict):
        return
    if isinstance(prose.get("description"), str):
        node["description"] = prose["description"]
    for name, field in (node.get("properties") or {}).items():
        _describe(field, (prose.get("properties") or {}).get(name))
    for part in ("items", "additionalProperties"):
        if isinstance(node.get(part), dict):
            _describe(node[part], prose.get(part))
