"""What the types of its objects say of a ValidatingAdmissionPolicy's expressions.

Only Kubernetes' own kinds have types here: of custom ones and of wildcards nothing is said.
Source: apiserver pkg/admission/plugin/policy/validating/typechecking.go, pkg/cel/openapi.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from podwire.api import kinds, schema
from podwire.api.cel.admission import Compiler
from podwire.api.cel.declarations import declare
from podwire.api.cel.types import DYN, Type
from podwire.api.kinds import Kind
from podwire.api.view import JSON

_MAX_TYPES = 10
"""So many kinds of one rule are looked at."""

_REF = "#/components/schemas/"


def warnings(spec: JSON) -> list[JSON]:
    """The expressionWarnings of a policy with that spec, validation by validation."""
    compilers = [
        (kind, compiler) for kind in _concerned(spec) for compiler in _compiler(spec, kind)
    ]
    found: list[JSON] = []
    for i, check in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            text = check.get(name)
            if not text:
                continue
            told = [
                f"{kind.group}/{kind.version}, Kind={kind.kind}: {wrong}\n"
                for kind, compiler in compilers
                if (wrong := compiler.complaint(text))
            ]
            if told:
                where = f"spec.validations[{i}].{name}"
                found.append({"fieldRef": where, "warning": "\n".join(told)})
    return found


def _concerned(spec: JSON) -> list[Kind[Any]]:
    """The kinds that a policy's rules name, by group, version and kind."""
    rules = (spec.get("matchConstraints") or {}).get("resourceRules") or ()
    found: dict[tuple[str, str, str], Kind[Any]] = {}
    for rule in rules:
        named = list(_named(rule))[:_MAX_TYPES]
        found |= {(kind.group, kind.version, kind.kind): kind for kind in named}
        if len(named) == _MAX_TYPES:
            break
    return [found[key] for key in sorted(found)]


def _named(rule: JSON) -> Iterator[Kind[Any]]:
    groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
    if any("*" in name for name in (*groups, *versions)):
        return
    resources = [name for name in rule.get("resources") or () if not {"*", "/"} & set(name)]
    for group in sorted(groups):
        for version in sorted(versions):
            for resource in sorted(resources):
                kind = kinds.by_plural(group, version, resource)
                if kind is not None:
                    yield kind


def _compiler(spec: JSON, kind: Kind[Any]) -> Iterator[Compiler]:
    """A compiler that knows the type of a kind; none where there is no type."""
    one = _type_of(kind.api_version, kind.kind)
    if one is None:
        return
    params = spec.get("paramKind") or {}
    yield Compiler(
        params=bool(params),
        variables=[(each["name"], each["expression"]) for each in spec.get("variables") or ()],
        object_type=one,
        params_type=_type_of(params.get("apiVersion", ""), params.get("kind", "")) or DYN,
    )


@lru_cache(maxsize=32)
def _type_of(api_version: str, name: str) -> Type | None:
    kind = kinds.by_gvk(api_version, name)
    defined = None if kind is None else schema.openapi_name(kind)
    schemas = schema.openapi_schemas() if defined else {}
    if defined not in schemas:
        return None
    return declare(_resolved(schemas, {"$ref": _REF + defined}, frozenset()), root=True, name=name)


def _resolved(schemas: Mapping[str, JSON], one: JSON, above: frozenset[str]) -> JSON:
    """A schema with what it refers to in its place; an empty object where it is within itself."""
    reference = one.get("$ref", "").removeprefix(_REF)
    if reference:
        if reference in above:
            return {"type": "object"}
        above |= {reference}
        one = schemas[reference]
    if "oneOf" in one:  # a union, which definitions of version 2 call a string
        union = one.get("format") == "int-or-string"
        return {"type": "string", "x-kubernetes-int-or-string": union}
    made = dict(one)
    if "properties" in one:
        properties = one["properties"].items()
        made["properties"] = {key: _resolved(schemas, each, above) for key, each in properties}
    for inner in ("items", "additionalProperties"):
        if isinstance(one.get(inner), dict):
            made[inner] = _resolved(schemas, one[inner], above)
    return made
