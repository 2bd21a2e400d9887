"""A CustomResourceDefinition itself: its defaults, its status when it is written, its rules.

Where all versions agree upstream reports under ``spec.validation``, ``spec.subresources`` and so
on, as if they stood there once; so does this.
Source: apiextensions-apiserver pkg/apis/apiextensions/validation/validation.go, v1/defaults.go,
v1/conversion.go and pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from typing import Any

from podwire.api import names
from podwire.api.crd import authorities, defaultrules, naming, schemarules, structural
from podwire.api.crd.served import is_true
from podwire.api.validation.extension import client_config
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

MAX_SELECTABLE = 8
_ROOT_MAY = (
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum",
    "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems",
    "multipleOf", "required", "items", "properties", "externalDocs", "example",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip
_ROOT_WORDS = (
    "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength "
    "MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties "
    "ExternalDocs Example XPreserveUnknownFields XValidations]"
)
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def default(obj: JSON) -> None:
    """Fill in what may be left out, in place."""
    spec = obj["spec"]
    wanted = spec.setdefault("names", {})
    kind = wanted.get("kind", "")
    if not wanted.get("singular"):
        wanted["singular"] = kind.lower()
    if not wanted.get("listKind") and kind:
        wanted["listKind"] = f"{kind}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
    store(obj)


def store(obj: JSON) -> None:
    """Enter the storage version into status.storedVersions, in place."""
    status = obj.setdefault("status", {})
    stored = [v["name"] for v in obj["spec"].get("versions") or () if v.get("storage")][:1]
    had = status.get("storedVersions") or []
    if stored and stored[0] not in had:
        status["storedVersions"] = [*had, *stored]


def check(errors: Errors, new: JSON, old: JSON | None) -> None:
    """A definition, as the successor of ``old``."""
    spec, name = new["spec"], new["metadata"].get("name", "")
    if old is None:
        wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
        if name and name != wanted:
            errors.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    _spec(errors, spec, old)
    if old is not None:
        _unchanged(errors, spec, old)
    _names(errors, "status.acceptedNames", (new.get("status") or {}).get("acceptedNames") or {})
    _stored(errors, new)
    _approval(errors, new, old)


def check_status(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """What is reported of a definition."""
    _names(errors, "status.acceptedNames", (new.get("status") or {}).get("acceptedNames") or {})


def advice(new: JSON, old: JSON | None) -> list[str]:
    """The warnings of a write."""
    had = _advice(old) if old is not None else []
    return [text for text in _advice(new) if text not in had]


def _advice(obj: JSON) -> list[str]:
    told: dict[str, None] = {}
    for version in obj["spec"].get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            told.update(dict.fromkeys(schemarules.advice(schema)))
    return list(told)


def _unchanged(errors: Errors, spec: JSON, old: JSON) -> None:
    before = old["spec"]
    if is_true(old, "Established"):
        _bundle(errors, spec, before)
        errors.immutable("spec.scope", spec.get("scope"), before.get("scope"))
        errors.immutable("spec.names.kind", spec["names"].get("kind"), before["names"].get("kind"))
    errors.immutable("spec.group", spec.get("group"), before.get("group"))
    plural = spec["names"].get("plural")
    errors.immutable("spec.names.plural", plural, before["names"].get("plural"))


def _stored(errors: Errors, new: JSON) -> None:
    path = "status.storedVersions"
    stored = (new.get("status") or {}).get("storedVersions") or []
    if not stored:
        errors.invalid(path, stored, "must have at least one stored version")
        return
    versions = new["spec"].get("versions") or []
    for version in versions:
        if version.get("storage") and version["name"] not in stored:
            errors.invalid(path, stored, f"must have the storage version {version['name']}")
    there = [version["name"] for version in versions]
    for i, name in enumerate(stored):
        if name not in there:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must "
                "remain in spec.versions until a storage migration ensures no data remains "
                f"persisted in {name} and removes {name} from status.storedVersions"
            )
            errors.invalid(f"{path}[{i}]", name, why)


def _approval(errors: Errors, new: JSON, old: JSON | None) -> None:
    if not naming.is_protected(new["spec"].get("group", "")):
        return
    annotations = new["metadata"].get("annotations") or {}
    word, why = naming.approval(annotations)
    if old is not None and naming.approval(old["metadata"].get("annotations") or {})[0] == word:
        return
    path = f"metadata.annotations[{naming.APPROVED}]"
    if word == "InvalidAnnotation":
        errors.invalid(path, annotations[naming.APPROVED], why)
    elif word == "MissingAnnotation":
        errors.required(path, why)


# ------------------------------------------------------------------ spec


def _shared(versions: list[JSON], field: str) -> bool:
    """Whether upstream keeps a field of all versions once."""
    first = versions[0].get(field) or None
    return all((version.get(field) or None) == first for version in versions)


def _spec(errors: Errors, spec: JSON, old: JSON | None) -> None:
    group = spec.get("group", "")
    if not group:
        errors.required("spec.group")
    elif wrong := names.dns1123_subdomain(group):
        errors.invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        errors.invalid("spec.group", group, "should be a domain with at least one dot")
    scope = spec.get("scope", "")
    if not scope:
        errors.required("spec.scope")
    else:
        errors.one_of("spec.scope", scope, ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    for i, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            errors.required(f"spec.versions[{i}].schema.openAPIV3Schema")
    shared = {
        field: bool(versions) and _shared(versions, field)
        for field in ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
    }
    for i, version in enumerate(versions):
        name = version.get("name", "")
        if wrong := names.dns1035_label(name):
            errors.invalid(f"spec.versions[{i}].name", name, ",".join(wrong))
        _version(errors, version, old, f"spec.versions[{i}]", shared, inside=True)
    if len({version.get("name") for version in versions}) < len(versions):
        errors.invalid("spec.versions", versions, "must contain unique version names")
    if sum(1 for version in versions if version.get("storage")) != 1:
        why = "must have exactly one version marked as storage version"
        errors.invalid("spec.versions", versions, why)
    _all_names(errors, spec.get("names") or {})
    if versions:
        _version(errors, versions[0], old, "spec", shared, inside=False)
    if spec.get("preserveUnknownFields") and not (old and old["spec"].get("preserveUnknownFields")):
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
            "spec.versions[*].schema instead"
        )
        errors.invalid("spec.preserveUnknownFields", True, why)
    _conversion(errors, spec.get("conversion"))


def _version(
    errors: Errors, version: JSON, old: JSON | None, path: str, shared: dict[str, bool],
    *, inside: bool,
) -> None:  # fmt: skip
    """What a version says, where upstream looks for it: in the version, or shared above."""
    if inside:
        _deprecation(errors, version, path)
    with_status = (version.get("subresources") or {}).get("status") is not None
    if shared["schema"] is not inside:
        where = f"{path}.schema" if inside else f"{path}.validation"
        before = _before(old, version.get("name", ""))
        _schema(errors, version.get("schema"), before, with_status, where)
    if shared["subresources"] is not inside:
        _scale(errors, (version.get("subresources") or {}).get("scale"), f"{path}.subresources")
    if shared["additionalPrinterColumns"] is not inside:
        for i, column in enumerate(version.get("additionalPrinterColumns") or ()):
            _column(errors, column, f"{path}.additionalPrinterColumns[{i}]")
    if shared["selectableFields"] is not inside:
        _selectable(errors, version, f"{path}.selectableFields")


def _deprecation(errors: Errors, version: JSON, path: str) -> None:
    text = version.get("deprecationWarning")
    if text is None:
        return
    where = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        errors.invalid(where, text, "can only be set for deprecated versions")
        return
    if len(text.encode()) > 256:
        errors.invalid(where, text, "must be <= 256 characters long")
    if not text:
        errors.invalid(where, text, "must not be an empty string")
    for i, char in enumerate(text):
        if not char.isprintable():
            why = (
                "must only contain printable UTF-8 characters; non-printable character found at "
                f"index {i}"
            )
            errors.invalid(where, text, why)
            break


def _before(old: JSON | None, name: str) -> JSON | None:
    """The schema that a version had before an update."""
    versions = old["spec"].get("versions") or () if old is not None else ()
    found: JSON = next((version for version in versions if version["name"] == name), {})
    schema: JSON | None = (found.get("schema") or {}).get("openAPIV3Schema")
    return schema


def _schema(
    errors: Errors, validation: JSON | None, old: JSON | None, with_status: bool, path: str
) -> None:
    schema = (validation or {}).get("openAPIV3Schema")
    path = f"{path}.openAPIV3Schema"
    if schema is None:
        return
    before = len(errors.causes)
    if with_status:
        if schema.get("type", "object") != "object":
            why = (
                'only "object" is allowed as the type at the root of the schema if the status '
                "subresource is enabled"
            )
            errors.invalid(f"{path}.type", schema["type"], why)
        elif any(name not in _ROOT_MAY for name in schema):
            why = (
                f"only {_ROOT_WORDS} fields are allowed at the root of the schema if the status "
                "subresource is enabled"
            )
            errors.invalid(path, schema, why)
    if schema.get("nullable"):
        errors.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    unfit = structural.unsupported(schema)
    if not unfit:
        found = structural.complaints(schema, path)
        errors.causes += found
        if not found:
            defaultrules.check(errors, schema, path)
    schemarules.check(errors, schema, path)
    if unfit and len(errors.causes) == before:
        errors.invalid(path, "", unfit)
    if len(errors.causes) == before:
        # CEL imports validation's words, and most who import validation never see a definition
        from podwire.api.cel import rules  # noqa: PLC0415

        rules.check(schema, path, errors, old)


def _all_names(errors: Errors, wanted: JSON) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        if not wanted.get(field):
            errors.required(f"spec.names.{field}")
    _names(errors, "spec.names", wanted)


def _names(errors: Errors, path: str, wanted: JSON) -> None:
    for field in ("plural", "singular"):
        _label(errors, f"{path}.{field}", wanted.get(field, ""))
    for field in ("kind", "listKind"):
        text = wanted.get(field, "")
        if text and (wrong := names.dns1035_label(text.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            errors.invalid(f"{path}.{field}", text, why)
    for i, text in enumerate(wanted.get("shortNames") or ()):
        _label(errors, f"{path}.shortNames[{i}]", text, may_lack=False)
    if wanted.get("kind") and wanted["kind"] == wanted.get("listKind"):
        why = "kind and listKind may not be the same"
        errors.invalid(f"{path}.listKind", wanted["listKind"], why)
    for i, text in enumerate(wanted.get("categories") or ()):
        _label(errors, f"{path}.categories[{i}]", text, may_lack=False)


def _label(errors: Errors, path: str, text: str, *, may_lack: bool = True) -> None:
    if (text or not may_lack) and (wrong := names.dns1035_label(text)):
        errors.invalid(path, text, ",".join(wrong))


def _path(errors: Errors, path: str, text: str, below: tuple[str, ...], where: str) -> None:
    """A simple JSON path that leads below one of these."""
    if not text:
        errors.required(path)
    elif text[0] != ".":
        errors.invalid(path, text, "must be a simple json path starting with .")
    elif below and not text.startswith(below):
        errors.invalid(path, text, f"should be a json path under {where}")


def _scale(errors: Errors, scale: JSON | None, path: str) -> None:
    if scale is None:
        return
    path = f"{path}.scale"
    wanted = scale.get("specReplicasPath", "")
    _path(errors, f"{path}.specReplicasPath", wanted, (".spec.",), ".spec")
    told = scale.get("statusReplicasPath", "")
    _path(errors, f"{path}.statusReplicasPath", told, (".status.",), ".status")
    selector = scale.get("labelSelectorPath")
    if selector:
        below = (".spec.", ".status.")
        _path(errors, f"{path}.labelSelectorPath", selector, below, "either .spec or .status")


def _column(errors: Errors, column: JSON, path: str) -> None:
    if not column.get("name"):
        errors.required(f"{path}.name")
    type_, format_ = column.get("type", ""), column.get("format", "")
    why = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        errors.required(f"{path}.type", why)
    elif type_ not in _COLUMN_TYPES:
        errors.invalid(f"{path}.type", type_, why)
    if format_ and format_ not in _COLUMN_FORMATS:
        errors.invalid(f"{path}.format", format_, f"must be one of {','.join(_COLUMN_FORMATS)}")
    _path(errors, f"{path}.JSONPath", column.get("jsonPath", ""), (), "")


def _selectable(errors: Errors, version: JSON, path: str) -> None:
    fields = version.get("selectableFields") or []
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not fields or schema is None:
        return
    seen: list[str] = []
    for i, field in enumerate(fields):
        where, text = f"{path}[{i}].jsonPath", field.get("jsonPath", "")
        if not text:
            errors.required(where)
            continue
        place, wrong = _place(schema, text)
        if wrong:
            errors.invalid(where, text, f"is an invalid path: {wrong}")
            continue
        if text.startswith(".metadata"):
            errors.invalid(where, text, "must not point to fields in metadata")
        if place.get("type") not in {"string", "boolean", "integer"}:
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and "
                "strings with formats are allowed."
            )
            errors.invalid(where, text, why)
        if text in seen:
            errors.duplicate(where, text)
        else:
            seen.append(text)
    if len(seen) > MAX_SELECTABLE:
        errors.too_many(path, len(seen), MAX_SELECTABLE)


def _place(schema: JSON, text: str) -> tuple[JSON, str]:
    """The schema that a path leads to, or why it leads nowhere."""
    place: Any = schema
    if not text.startswith("."):
        return {}, f"expected [ or . but got: {text}"
    for name in text[1:].split("."):
        known = place.get("properties") or {}
        if name in known:
            place = known[name]
        elif isinstance(place.get("additionalProperties"), dict):
            place = place["additionalProperties"]
        else:
            return {}, f"does not refer to a valid field: {name}"
    return place, ""


# ------------------------------------------------------------------ conversion


def _conversion(errors: Errors, conversion: JSON | None) -> None:
    if conversion is None:
        return
    path, webhook = "spec.conversion", conversion.get("webhook")
    strategy = conversion.get("strategy", "")
    if not strategy:
        errors.required(f"{path}.strategy")
    else:
        errors.one_of(f"{path}.strategy", strategy, ("None", "Webhook"))
    client = (webhook or {}).get("clientConfig")
    reviews = (webhook or {}).get("conversionReviewVersions") or []
    if strategy != "Webhook":
        why = "should not be set when strategy is not set to Webhook"
        if client is not None:
            errors.forbidden(f"{path}.webhookClientConfig", why)
        if reviews:
            errors.forbidden(f"{path}.conversionReviewVersions", why)
        return
    where = f"{path}.webhookClientConfig"
    if client is None:
        errors.required(where, "required when strategy is set to Webhook")
    else:
        client_config(errors, where, client)
    _reviews(errors, reviews, f"{path}.conversionReviewVersions")


def _bundle(errors: Errors, spec: JSON, before: JSON) -> None:
    """A definition that is served keeps a bundle of use, if it had one."""
    bundle, had = authorities.bundle_of(spec), authorities.bundle_of(before)
    if bundle and bundle != had and not (had and authorities.wrong(had)):
        why = authorities.wrong(bundle)
        if why:
            errors.invalid("spec.conversion.webhookClientConfig.caBundle", bundle, why)


def _reviews(errors: Errors, reviews: list[str], path: str) -> None:
    if not reviews:
        errors.required(path)
        return
    seen: list[str] = []
    for i, version in enumerate(reviews):
        if version in seen:
            errors.invalid(f"{path}[{i}]", version, "duplicate version")
            continue
        seen.append(version)
        errors.complaints(f"{path}[{i}]", version, names.dns1035_label(version))
    if not {"v1", "v1beta1"} & set(seen):
        errors.invalid(path, reviews, "must include at least one of v1, v1beta1")
