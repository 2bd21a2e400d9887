"""The table of API types: fields, protobuf numbers, merge keys; loaded on first use.

One source for the structural check, the protobuf decoder, the strategic merge patch and OpenAPI.
How the data came about: podwire/api/data/derive.py.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from podwire.api.kinds import Kind
from podwire.api.view import JSON


class Field(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One field of a type, as types.json holds it."""

    name: str
    """The JSON name; empty when the type's fields are inlined into the parent."""
    number: int
    """The protobuf field number; 0 when protobuf does not carry the field."""
    code: str
    """The value: s string, b bool, i int32, l int64, f float64, y bytes, m message, t Time,
    u MicroTime, q Quantity, x IntOrString, r RawExtension (any JSON), v FieldsV1, e a list of
    strings that protobuf wraps, A B S a JSON schema or a list of them, a bool, a list of strings;
    prefixed with ``[`` for a list and ``{`` for a map from strings."""
    ref: str = ""
    """The type of messages; for scalars the Go name to print in errors, if it has its own."""
    flags: str = ""
    """p pointer, o omitempty, z omitzero, r required by the schema, a atomic map."""
    patch_strategy: str = ""
    merge_key: str = ""
    list_type: str = ""
    list_keys: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """``[`` list, ``{`` map or '' single."""
        return self.code[0] if len(self.code) > 1 else ""

    @property
    def pointer(self) -> bool:
        """Whether Go keeps an explicit zero value apart from absence."""
        return "p" in self.flags

    @property
    def omitempty(self) -> bool:
        """Whether Go leaves the field out of JSON when empty."""
        return "o" in self.flags

    @property
    def go_type(self) -> str:
        """The Go type as decoding errors print it: ``int32``, ``[]v1.Container``."""
        base = self.code.lstrip("[{")
        if self.ref and base not in _GO_UNIONS:
            return self.ref
        if base == "m":
            name = ".".join(self.ref.split(".")[-2:])
        else:
            name = _GO_NAMES.get(base) or _GO_UNIONS[base]
        return {"[": f"[]{name}", "{": f"map[string]{name}", "": name}[self.shape]


_GO_NAMES = {
    "s": "string", "b": "bool", "i": "int32", "l": "int64", "f": "float64", "y": "[]uint8",
    "t": "v1.Time", "u": "v1.MicroTime", "q": "resource.Quantity", "x": "intstr.IntOrString",
    "r": "runtime.RawExtension", "v": "v1.FieldsV1", "e": "[]string",
}  # fmt: skip
_GO_UNIONS = {
    "m": "", "A": "v1.JSONSchemaPropsOrArray", "B": "v1.JSONSchemaPropsOrBool",
    "S": "v1.JSONSchemaPropsOrStringArray",
}  # fmt: skip


class Type:
    """A struct of the API. ``fields`` is by JSON name, embedded types flattened into it."""

    __slots__ = ("always", "fields", "name", "own")

    def __init__(self, name: str, own: tuple[Field, ...]) -> None:
        self.name = name
        self.own = own
        """The fields as declared, embedded ones (empty name) included."""
        self.fields: dict[str, Field] = {}
        for field in own:
            if field.name:
                self.fields[field.name] = field
            else:
                self.fields.update(type_named(field.ref).fields)
        self.always = {f.name: z for f in self.fields.values() if (z := _zero(f)) is not None}
        """What Go prints even when unset: ``resources: {}``, ``replicas: 0``."""

    @property
    def go_name(self) -> str:
        """The struct's Go name: ``PodSpec``."""
        return self.name.rpartition(".")[2]

    @property
    def go_type(self) -> str:
        """The Go type as errors print it: ``v1.PodSpec``."""
        return ".".join(self.name.split(".")[-2:])

    def __repr__(self) -> str:
        return f"<Type {self.name}>"


def _zero(field: Field) -> Any:
    """What an unset field looks like in JSON, or None when it is left out.

    Absent lists, maps and times would be ``null`` in Go's output; podwire leaves them out.
    """
    if field.pointer or "z" in field.flags:
        return None
    if field.code == "m":
        return type_named(field.ref).always
    if field.code == "q":
        return "0"
    if field.omitempty:
        return None
    return {"s": "", "b": False, "i": 0, "l": 0, "f": 0}.get(field.code)


class _Table(msgspec.Struct):
    kinds: dict[str, str]
    types: dict[str, msgspec.Raw]


_rows = msgspec.json.Decoder(tuple[Field, ...])


@cache
def _table() -> _Table:
    data = files("podwire.api.data").joinpath("types.json").read_bytes()
    return msgspec.json.decode(data, type=_Table)


@cache
def type_named(name: str) -> Type:
    """The type of that name (``core.v1.PodSpec``). Raises KeyError."""
    return Type(name, _rows.decode(_table().types[name]))


def type_of_gvk(api_version: str, kind: str) -> Type | None:
    """The type of an apiVersion and kind, or None when the table has none."""
    name = _table().kinds.get(f"{api_version}/{kind}")
    return type_named(name) if name is not None else None


def type_of(kind: Kind[Any]) -> Type | None:
    """The type of a served kind; None for kinds outside Kubernetes' own API."""
    return None if kind.custom is not None else _type_of(kind)


@cache
def _type_of(kind: Kind[Any]) -> Type | None:
    return type_of_gvk(kind.api_version, kind.kind)


def kind_names() -> list[str]:
    """Every ``apiVersion/kind`` that has a type, served or not."""
    return list(_table().kinds)


def type_names() -> list[str]:
    """Every type in the table, sorted."""
    return list(_table().types)


def definition_name(type_name: str) -> str:
    """The key in openapi_schemas() of a type: ``io.k8s.api.core.v1.Pod``."""
    return f"{_DEFINED_IN.get(type_name.partition('.')[0], 'io.k8s.api.')}{type_name}"


_DEFINED_IN = {
    "meta": "io.k8s.apimachinery.pkg.apis.",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
}


def openapi_schemas() -> dict[str, JSON]:
    """The OpenAPI v3 ``components.schemas`` of what is served, without descriptions.

    Read anew for each caller, who owns them: they are needed once, to make documents of.
    """
    data = files("podwire.api.data").joinpath("openapi.json.gz").read_bytes()
    schemas: dict[str, JSON] = msgspec.json.decode(gzip.decompress(data))
    return schemas


def openapi_name(kind: Kind[Any]) -> str | None:
    """The key in openapi_schemas() of a kind, or None."""
    found = type_of(kind)
    return None if found is None else definition_name(found.name)
