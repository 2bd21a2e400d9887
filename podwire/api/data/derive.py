"""Derives types.json and openapi.json.gz from upstream's sources. A developer's tool.

Run after derive_kinds.py when the modelled Kubernetes version changes::

    python -m podwire.api.data.derive DEFINITIONS SOURCES TESTDATA

DEFINITIONS  ``v1.37.0-local/_definitions.json`` of the PyPI package kubernetes-validate
SOURCES      a folder with checkouts of kubernetes/api, apimachinery, apiextensions-apiserver and
             kube-aggregator (by these names) of the same version
TESTDATA     ``testdata/HEAD`` of kubernetes/api: names every kind that has a protobuf form

Only facts are carried over. From the struct tags of the ``types.go`` files: JSON names, protobuf
field numbers, Go types, pointers, omitempty. From the schema: required fields, patch strategies,
merge keys and list types. The two sources must agree on every field. No descriptions.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from podwire.api.schema import definition_name

HERE = Path(__file__).parent
META_FILES = ("types.go", "watch.go", "group_version.go")
EXTRA_ROOTS = {
    "autoscaling/v1/Scale": "autoscaling.v1.Scale",
    "v1/APIGroupList": "meta.v1.APIGroupList",
    "v1/APIResourceList": "meta.v1.APIResourceList",
    "meta.k8s.io/v1/PartialObjectMetadata": "meta.v1.PartialObjectMetadata",
    "meta.k8s.io/v1beta1/PartialObjectMetadata": "meta.v1.PartialObjectMetadata",
}
OPENAPI_ROOTS = (
    "meta.v1.Status", "meta.v1.DeleteOptions", "meta.v1.Patch", "meta.v1.WatchEvent",
    "meta.v1.APIResourceList", "meta.v1.APIGroup", "meta.v1.APIGroupList", "meta.v1.APIVersions",
    "autoscaling.v1.Scale", "policy.v1.Eviction", "authentication.v1.TokenRequest",
)  # fmt: skip
LATER_FIELDS: dict[str, list[list[Any]]] = {
    "core.v1.NodeSystemInfo": [["runningInUserNamespace", 0, "b", "", "po"]],
}
for _version in ("v1", "v1beta1", "v1beta2"):
    _derived = ["derivedAttributes", 0, "[m", f"resource.{_version}.DeviceDerivedAttribute", "o",
                "", "", "atomic"]  # fmt: skip
    LATER_FIELDS |= {
        f"resource.{_version}.DeviceCounterConsumption":
            [["compatibilityGroups", 3, "[s", "", "o", "", "", "atomic"]],
        f"resource.{_version}.DeviceSubRequest": [_derived],
        f"resource.{_version}.{'DeviceRequest' if _version == 'v1beta1' else 'ExactDeviceRequest'}":
            [_derived],
        f"resource.{_version}.DeviceDerivedAttribute":
            [["name", 0, "s", "", "r"], ["expression", 0, "s", "", "r"]],
    }  # fmt: skip
"""Rows that the schema has and the checkout (7 weeks before the release) has not yet.

Their protobuf numbers are unknown here; 0 means that only JSON carries the field.
(compatibilityGroups: KEP-5963.)
"""
BASIC = {"string": "s", "bool": "b", "int32": "i", "int64": "l", "float64": "f"}
SPECIAL = {
    "meta.v1.Time": "t",
    "meta.v1.MicroTime": "u",
    "meta.v1.FieldsV1": "v",
    "meta.v1.Verbs": "e",
    "resource.Quantity": "q",
    "intstr.IntOrString": "x",
    "runtime.RawExtension": "r",
    "apiextensions.v1.JSON": "r",
}
UNIONS = {
    "apiextensions.v1.JSONSchemaPropsOrArray": "A",
    "apiextensions.v1.JSONSchemaPropsOrBool": "B",
    "apiextensions.v1.JSONSchemaPropsOrStringArray": "S",
}
"""Types whose JSON form is one of two things, with the struct they may hold."""
JSON_SCHEMA = "apiextensions.v1.JSONSchemaProps"

_FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`([^`]*)`")
_TAG = re.compile(r'(\w+):"([^"]*)"')
_NAMED = re.compile(r"^type (\w+) =? ?([\w.\[\]]+)$", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_EMPTY = re.compile(r"^type (\w+) struct ?\{\}", re.MULTILINE)
_IMPORT = re.compile(r'^(?:import)?[ \t]+(\w+[ \t]+)?"k8s.io/([\w./-]+)"', re.MULTILINE)

GoField = tuple[str, str, dict[str, str]]
"""Go name ('' when embedded), Go type, struct tags."""


def files(sources: Path) -> Iterator[tuple[str, Path]]:
    """Every file with API types and its package (``core.v1``)."""
    for path in sorted((sources / "api").glob("*/*/types.go")):
        yield ".".join(path.parts[-3:-1]), path
    meta = sources / "apimachinery/pkg/apis/meta/v1"
    yield from (("meta.v1", meta / name) for name in META_FILES)
    extensions = sources / "apiextensions-apiserver/pkg/apis/apiextensions/v1"
    for name in ("types.go", "types_jsonschema.go"):
        yield "apiextensions.v1", extensions / name
    yield "apiregistration.v1", sources / "kube-aggregator/pkg/apis/apiregistration/v1/types.go"


def package_of(path: str) -> str:
    """The package's name here of a Go import path (without ``k8s.io/``)."""
    parts = path.split("/")
    if parts[0] == "api" or "apis" in parts:
        return ".".join(parts[-2:])
    return parts[-1]


class Sources:
    """The Go types of the packages in question, by qualified name (``core.v1.PodSpec``)."""

    def __init__(self, sources: Path) -> None:
        self.structs: dict[str, list[GoField]] = {}
        self.named: dict[str, str] = {}
        self.imports: dict[str, dict[str, str]] = {}
        for package, path in files(sources):
            self._read(package, path)
        self.named |= {"types.UID": "string", "types.NodeName": "string"}

    def _read(self, package: str, path: Path) -> None:
        text = path.read_text()
        aliases = self.imports.setdefault(package, {})
        for alias, imported in _IMPORT.findall(text):
            aliases[alias.strip() or imported.rpartition("/")[2]] = package_of(imported)
        for name, body in _STRUCT.findall(text):
            fields = [
                match.groups(default="") for match in map(_FIELD.match, body.split("\n")) if match
            ]
            self.structs[f"{package}.{name}"] = [
                (n, t, dict(_TAG.findall(tags))) for n, t, tags in fields
            ]
        for name in _EMPTY.findall(text):
            self.structs[f"{package}.{name}"] = []
        for name, target in _NAMED.findall(text):
            self.named.setdefault(f"{package}.{name}", target)

    def qualify(self, package: str, go_type: str) -> str:
        """``metav1.Time`` or ``PodSpec`` as a qualified name."""
        prefix, dot, name = go_type.rpartition(".")
        if not dot:
            return f"{package}.{go_type}"
        return f"{self.imports[package][prefix]}.{name}"

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
        if name.endswith((".ExtraValue", ".AttestationValue")):
            return "e", ""
        if name in SPECIAL:
            return SPECIAL[name], ""
        if name in UNIONS:
            return UNIONS[name], JSON_SCHEMA
        if name in self.structs:
            return "m", name
        code, ref = self.code(name.rpartition(".")[0], self.named[name])
        if code[-1] in "mABS":
            return code, ref
        return code, ".".join(name.split(".")[-2:])


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


def root_types(sources: Sources, testdata: Path) -> dict[str, str]:
    """The struct of every kind: those served, and those with test data; by apiVersion/kind."""
    packages = {"internal": "apiserverinternal", "": "core"}
    roots: dict[str, str] = {}
    served = [cells[:3] for cells in json.loads((HERE / "kinds.json").read_text())]
    known = sorted(path.stem for path in testdata.glob("*.json"))
    for group, version, kind in served + [name.rsplit(".", 2) for name in known]:
        own = "" if group == "core" else group
        first = own.partition(".")[0]
        name = f"{packages.get(first, first)}.{version}.{kind}"
        if name not in sources.structs:
            name = f"meta.v1.{kind}"
        roots[f"{own}/{version}/{kind}" if own else f"{version}/{kind}"] = name
    return roots | EXTRA_ROOTS


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
        schema = schemas.get(definition_name(type_name), {})
        rows = list(LATER_FIELDS.get(type_name, ()))
        waiting += [row[3] for row in rows if row[2][-1] == "m"]
        for field in sources.structs.get(type_name, ()):
            if not field[2].get("json") and field[0]:
                continue
            row = field_row(sources, package, field, schema)
            rows.append(row)
            if row[2][-1] in "mABS":
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
    wrong = []
    for type_name in types:
        schema = schemas.get(definition_name(type_name))
        if schema is None:  # an embedded type that the schema flattened
            continue
        differ = sorted(set(flat_names(types, type_name)) ^ set(schema.get("properties", {})))
        if differ:
            wrong.append(f"{type_name}: sources disagree on {differ}")
    if wrong:
        sys.exit("\n".join(wrong))


def as_openapi(value: Any) -> Any:
    """A definition without prose and without what is added for plain JSON schema validators."""
    if isinstance(value, list):
        return [as_openapi(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "oneOf" in value and "properties" not in value:
        integer = any("integer" in option["type"] for option in value["oneOf"])
        form = {"format": "int-or-string"} if integer else {}
        return {
            **form,
            "oneOf": [{"type": "integer" if integer else "number"}, {"type": "string"}],
        }
    found = {}
    for key, item in value.items():
        if key == "description" and isinstance(item, str):
            continue
        if key == "type" and isinstance(item, list):
            found[key] = item[0]
        elif key == "$ref" and isinstance(item, str):
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


def derive_openapi(schemas: dict[str, Any], served: list[str]) -> dict[str, Any]:
    """The definitions reachable from the served kinds, their lists and what verbs take."""
    found: dict[str, Any] = {}
    waiting = [definition_name(name) for name in served]
    waiting += [f"{name}List" for name in waiting if f"{name}List" in schemas]
    waiting += [definition_name(name) for name in OPENAPI_ROOTS]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = as_openapi(schemas[name])
            waiting += references(schemas[name])
    return dict(sorted(found.items()))


def main() -> None:
    """Reads the sources and rewrites the two data files beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("definitions", "sources", "testdata"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    schemas = json.loads(given.definitions.read_text())["$defs"]
    sources = Sources(given.sources)
    roots = root_types(sources, given.testdata)
    types = derive_types(sources, schemas, roots)
    check(types, schemas)
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(rows, separators=(',', ':'))}"
        for name, rows in types.items()
    )
    kind_lines = json.dumps(roots, separators=(",", ":"))
    (HERE / "types.json").write_text(f'{{"kinds":{kind_lines},\n"types":{{\n{lines}\n}}}}\n')
    served = [
        roots[f"{group}/{version}/{kind}" if group else f"{version}/{kind}"]
        for group, version, kind, *_ in json.loads((HERE / "kinds.json").read_text())
    ]
    text = json.dumps(derive_openapi(schemas, served), separators=(",", ":")).encode()
    (HERE / "openapi.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{len(types)} types, {sum(map(len, types.values()))} fields")  # noqa: T201 - a tool


if __name__ == "__main__":
    main()
