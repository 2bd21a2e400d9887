"""Derives types.json and openapi.json.gz from upstream's sources. A developer's tool.

Run when the modelled Kubernetes version changes::

    python -m podwire.api.data.derive DEFINITIONS KUBERNETES_API APIMACHINERY

DEFINITIONS     ``v1.37.0-local/_definitions.json`` of the PyPI package kubernetes-validate
KUBERNETES_API  a checkout of github.com/kubernetes/api of the same version
APIMACHINERY    a checkout of github.com/kubernetes/apimachinery of the same version

Only facts are carried over. From the struct tags of the ``types.go`` files: JSON names, protobuf
field numbers, Go types, pointers, omitempty. From the schema: required fields, patch strategies,
merge keys, list types and the descriptions. The two sources must agree on every field.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

from podwire.api import kinds

HERE = Path(__file__).parent
PACKAGES = ("core/v1", "apps/v1", "autoscaling/v1", "batch/v1", "coordination/v1", "discovery/v1",
            "networking/v1", "policy/v1", "rbac/v1", "scheduling/v1alpha3")  # fmt: skip
EXTRA_ROOTS = {
    "v1/Status": "meta.v1.Status",
    "v1/DeleteOptions": "meta.v1.DeleteOptions",
    "v1/Binding": "core.v1.Binding",
    "policy/v1/Eviction": "policy.v1.Eviction",
    "autoscaling/v1/Scale": "autoscaling.v1.Scale",
}
LATER_FIELDS = {
    "core.v1.NodeSystemInfo": [["runningInUserNamespace", 0, "b", "", "po"]],
}
"""Rows that the schema has and the checkout (7 weeks before the release) has not yet.

Their protobuf numbers are unknown here; 0 means that only JSON carries the field.
"""
BASIC = {"string": "s", "bool": "b", "int32": "i", "int64": "l", "float64": "f"}
SPECIAL = {
    "meta.v1.Time": "t",
    "meta.v1.MicroTime": "u",
    "meta.v1.FieldsV1": "v",
    "resource.Quantity": "q",
    "intstr.IntOrString": "x",
    "runtime.RawExtension": "r",
}
IMPORTED = {
    "metav1": "meta.v1", "corev1": "core.v1", "apiv1": "core.v1", "v1": "core.v1",
    "schedulingv1alpha3": "scheduling.v1alpha3",
}  # fmt: skip

_FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`([^`]*)`")
_TAG = re.compile(r'(\w+):"([^"]*)"')
_NAMED = re.compile(r"^type (\w+) =? ?([\w.\[\]]+)$", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)

GoField = tuple[str, str, dict[str, str]]
"""Go name ('' when embedded), Go type, struct tags."""


class Sources:
    """The Go types of the packages in question, by qualified name (``core.v1.PodSpec``)."""

    def __init__(self, api: Path, apimachinery: Path) -> None:
        self.structs: dict[str, list[GoField]] = {}
        self.named: dict[str, str] = {}
        for package in PACKAGES:
            self._read(package.replace("/", "."), api / package / "types.go")
        self._read("meta.v1", apimachinery / "pkg/apis/meta/v1/types.go")
        self.named["types.UID"] = "string"

    def _read(self, package: str, path: Path) -> None:
        text = path.read_text()
        for name, body in _STRUCT.findall(text):
            fields = [
                match.groups(default="") for match in map(_FIELD.match, body.split("\n")) if match
            ]
            self.structs[f"{package}.{name}"] = [
                (n, t, dict(_TAG.findall(tags))) for n, t, tags in fields
            ]
        for name, target in _NAMED.findall(text):
            self.named.setdefault(f"{package}.{name}", target)

    @staticmethod
    def qualify(package: str, go_type: str) -> str:
        """``metav1.Time`` or ``PodSpec`` as a qualified name."""
        prefix, dot, name = go_type.rpartition(".")
        if not dot:
            return f"{package}.{go_type}"
        return f"{IMPORTED.get(prefix, prefix)}.{name}"

    def code(self, package: str, go_type: str) -> tuple[str, str]:
        """The type code of a Go type and what it refers to: a struct, or a Go name to print."""
        if go_type in BASIC:
            return BASIC[go_type], ""
        if go_type == "[]byte":
            return "y", ""
        if go_type.startswith("[]"):
            code, ref = self.code(package, go_type[2:])
            return f"[{code}", ref
        if go_type.startswith("map["):
            code, ref = self.code(package, go_type.partition("]")[2])
            return f"{{{code}", ref
        name = self.qualify(package, go_type)
        if name in SPECIAL:
            return SPECIAL[name], ""
        if name in self.structs:
            return "m", name
        code, _ = self.code(name.rpartition(".")[0], self.named[name])
        printed = ".".join(name.split(".")[-2:])
        return code, printed


def field_row(sources: Sources, package: str, field: GoField, schema: dict[str, Any]) -> list[Any]:
    """One field as types.json holds it; trailing defaults are cut."""
    _, go_type, tags = field
    name, *options = tags["json"].split(",")
    number = int(tags["protobuf"].split(",")[1]) if tags.get("protobuf", "-") != "-" else 0
    code, ref = sources.code(package, go_type.removeprefix("*"))
    prop = schema.get("properties", {}).get(name, {})
    flags = "".join((
        "p" if go_type.startswith("*") else "",
        "o" if "omitempty" in options else "",
        "z" if "omitzero" in options else "",
        "r" if name in schema.get("required", ()) else "",
        "a" if prop.get("x-kubernetes-map-type") == "atomic" else "",
    ))  # fmt: skip
    row: list[Any] = [
        name, number, code, ref, flags,
        prop.get("x-kubernetes-patch-strategy", ""),
        prop.get("x-kubernetes-patch-merge-key", ""),
        prop.get("x-kubernetes-list-type", ""),
        prop.get("x-kubernetes-list-map-keys", []),
    ]  # fmt: skip
    while len(row) > 3 and not row[-1]:
        row.pop()
    return row


def schema_name(type_name: str) -> str:
    """The OpenAPI definition of a type."""
    if type_name.startswith("meta."):
        return f"io.k8s.apimachinery.pkg.apis.{type_name}"
    return f"io.k8s.api.{type_name}"


def derive_types(
    sources: Sources, schemas: dict[str, Any], roots: dict[str, str]
) -> dict[str, Any]:
    """The rows of every type reachable from the roots."""
    found: dict[str, Any] = {}
    waiting = [*roots.values()]
    while waiting:
        type_name = waiting.pop(0)
        if type_name in found:
            continue
        package = type_name.rpartition(".")[0]
        schema = schemas.get(schema_name(type_name), {})
        rows = list(LATER_FIELDS.get(type_name, ()))
        for field in sources.structs[type_name]:
            if not field[2].get("json") and field[0]:
                continue
            row = field_row(sources, package, field, schema)
            rows.append(row)
            if "m" in row[2]:
                waiting.append(row[3])
        found[type_name] = rows
    return dict(sorted(found.items()))


def flat_names(types: dict[str, Any], type_name: str) -> list[str]:
    """JSON names of a type, embedded types included."""
    names: list[str] = []
    for row in types[type_name]:
        names += [row[0]] if row[0] else flat_names(types, row[3])
    return names


def check(types: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Both sources name the same fields, or this exits."""
    for type_name in types:
        schema = schemas.get(schema_name(type_name))
        if schema is None:  # an embedded type that the schema flattened
            continue
        differ = sorted(set(flat_names(types, type_name)) ^ set(schema.get("properties", {})))
        if differ:
            sys.exit(f"{type_name}: sources disagree on {differ}")


def as_openapi(value: Any) -> Any:
    """Undoes what kubernetes-validate adds for plain JSON schema validators."""
    if isinstance(value, list):
        return [as_openapi(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "oneOf" in value and "properties" not in value:
        integer = any("integer" in option["type"] for option in value["oneOf"])
        text = {"description": value["description"]} if "description" in value else {}
        form = {"format": "int-or-string"} if integer else {}
        return {
            **text,
            **form,
            "oneOf": [{"type": "integer" if integer else "number"}, {"type": "string"}],
        }
    found = {}
    for key, item in value.items():
        if key == "type" and isinstance(item, list):
            found[key] = item[0]
        elif key == "$ref":
            found[key] = item.replace("#/$defs/", "#/components/schemas/")
        else:
            found[key] = as_openapi(item)
    return found


def references(value: Any) -> list[str]:
    """Every definition that a schema refers to."""
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].rpartition("/")[2]] if isinstance(value.get("$ref"), str) else []
    return own + [name for item in value.values() for name in references(item)]


def derive_openapi(schemas: dict[str, Any], roots: dict[str, str]) -> dict[str, Any]:
    """The definitions (with descriptions) reachable from the roots."""
    found: dict[str, Any] = {}
    waiting = [schema_name(name) for name in roots.values()]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = as_openapi(schemas[name])
            waiting += references(schemas[name])
    return dict(sorted(found.items()))


def main() -> None:
    """Reads the three sources and rewrites the two data files beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("definitions", "kubernetes_api", "apimachinery"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    schemas = json.loads(given.definitions.read_text())["$defs"]
    sources = Sources(given.kubernetes_api, given.apimachinery)
    roots = {
        f"{kind.api_version}/{kind.kind}": ".".join(
            (kind.group.split(".")[0] or "core", kind.version, kind.kind)
        )
        for kind in kinds.ALL
        if kind is not kinds.TRACE
    }
    roots |= EXTRA_ROOTS
    types = derive_types(sources, schemas, roots)
    check(types, schemas)
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(rows, separators=(',', ':'))}"
        for name, rows in types.items()
    )
    kind_lines = json.dumps(roots, separators=(",", ":"))
    (HERE / "types.json").write_text(f'{{"kinds":{kind_lines},\n"types":{{\n{lines}\n}}}}\n')
    text = json.dumps(derive_openapi(schemas, roots), separators=(",", ":")).encode()
    (HERE / "openapi.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{len(types)} types, {sum(map(len, types.values()))} fields")  # noqa: T201 - a tool


if __name__ == "__main__":
    main()
