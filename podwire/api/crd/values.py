"""Checks of values against a schema, in upstream's words and order.

A schema is compiled place by place, when a value first comes there. ``Found.count`` is upstream's
MatchCount: of alternatives that all fail the one that came furthest is told.

Source: kube-openapi pkg/validation/validate (schema.go and its validators), with
apiextensions-apiserver pkg/apiserver/validation (conversion of schemas, ratcheting.go).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from podwire.api.crd import formats
from podwire.api.crd.nodes import INT_OR_STRING
from podwire.api.status import Cause
from podwire.api.validation.field import Errors, show
from podwire.api.view import JSON

NOTHING: Any = type("Nothing", (), {"__repr__": lambda _self: "NOTHING", "__slots__": ()})()
"""No old value that a value could be the successor of."""


class Complaint(NamedTuple):
    """One thing that is wrong."""

    code: str
    path: str
    value: Any
    limit: Any = None


Complaints = dict[str, Complaint]
"""By message: upstream tells each once."""


class Found:
    """The outcome of a check."""

    __slots__ = ("complaints", "count")

    def __init__(self) -> None:
        self.complaints: Complaints = {}
        self.count = 0

    def merge(self, other: Found) -> None:
        """Take over another outcome."""
        self.complaints.update(other.complaints)
        self.count += other.count

    def add(self, code: str, path: str, message: str, value: Any = None, limit: Any = None) -> None:
        """Complain."""
        self.complaints.setdefault(message, Complaint(code, path, value, limit))

    def causes(self, above: str = "") -> list[Cause]:
        """As field errors; ``above`` is where the checked value stands in its object."""
        errors = Errors()
        for message, (code, path, value, limit) in self.complaints.items():
            at = ".".join(filter(None, (above, path.removeprefix("."))))
            if code == "required":
                errors.required(at)
            elif code == "enum":
                errors.unsupported(at, value, limit)
            elif code == "long":
                errors.too_long(at, limit)
            elif code == "many":
                errors.too_many(at, value, limit)
            elif code == "type":
                errors.type_invalid(at, value, message)
            elif code == "composite":
                errors.invalid(above or "<nil>", "", message)
            else:
                errors.invalid(at, value, message)
        return errors.causes


class Check:
    """One place of a schema."""

    __slots__ = (
        "_additional",
        "_items",
        "_junctors",
        "_keys",
        "_properties",
        "_schemas",
        "atomic",
        "enum",
        "format",
        "nullable",
        "required",
        "schema",
        "types",
    )

    def __init__(self, schema: JSON) -> None:
        self.schema = schema
        type_ = schema.get("type", "")
        if schema.get(INT_OR_STRING):
            self.types: tuple[str, ...] = ("integer", "string")
        else:
            self.types = (type_,) if type_ else ()
        format_ = schema.get("format", "")
        self.format = format_ if format_ and formats.counts(format_, type_) else ""
        self.nullable = bool(schema.get("nullable"))
        self.enum: list[Any] = schema.get("enum") or []
        self.required: list[str] = schema.get("required") or []
        self.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        self._schemas: JSON = schema.get("properties") or {}
        self._properties: dict[str, Check] = {}
        additional = schema.get("additionalProperties")
        self._additional = Check(additional) if isinstance(additional, dict) else additional
        items = schema.get("items")
        self._items = Check(items) if isinstance(items, dict) else None
        self._junctors = {
            name: [Check(inner) for inner in schema[name]]
            for name in ("anyOf", "oneOf", "allOf")
            if schema.get(name)
        }
        if schema.get("not") is not None:
            self._junctors["not"] = [Check(schema["not"])]
        keyed = schema.get("x-kubernetes-list-type") == "map"
        self._keys: list[str] = (schema.get("x-kubernetes-list-map-keys") or []) if keyed else []

    # ------------------------------------------------------------ the whole

    def run(self, value: Any, path: str = "", old: Any = NOTHING) -> Found:
        """Check a value; what is wrong already in an equal ``old`` value is forgiven."""
        found = self._run(value, path, old)
        if found.complaints and old is not NOTHING and same(value, old):
            found.complaints = {}
        return found

    def _run(self, value: Any, path: str, old: Any) -> Found:
        found = Found()
        if value is None:
            if self.types and not self.nullable:
                self._mistyped(found, path, "null")
            else:
                found.count += 1
            self._enum(found, value, path)
            return found
        found.count = 2
        if self.types or self.format:
            found.count += 1
            self._type(found, value, path)
        if self._junctors:
            self._junct(found, value, path, old)
        found.count += 1
        if value.__class__ is str:
            found.count += 1
            self._string(found, value, path)
        elif value.__class__ is list:
            found.count += 1
            self._list(found, value, path, old)
        elif value.__class__ is dict:
            found.count += 1
            self._map(found, value, path, old)
        elif value.__class__ is not bool:
            found.count += 1
            self._number(found, value, path)
        if self.enum:
            self._enum(found, value, path)
        found.count += 1
        return found

    def _mistyped(self, found: Found, path: str, given: str) -> None:
        wanted = ",".join(self.types)
        message = f'{path} in body must be of type {wanted}: "{given}"'
        found.add("type", path, message, given)

    def _type(self, found: Found, value: Any, path: str) -> None:
        given = _json_type(value)
        types = self.types
        textual = given in {"string", "array"} and self.format
        if textual and "number" not in types and "integer" not in types:
            found.count += 1
            return
        fits = (
            given in types
            or (given == "integer" and "number" in types)
            or (given == "number" and "integer" in types and float(value).is_integer())
        )
        if fits or not types:
            found.count += 1
        else:
            self._mistyped(found, path, given)

    def _enum(self, found: Found, value: Any, path: str) -> None:
        if self.enum and not any(_equal(value, allowed) for allowed in self.enum):
            listed = [v if isinstance(v, str) else show(v) for v in self.enum]
            shown = " ".join(listed)
            found.add("enum", path, f"{path} in body should be one of [{shown}]", value, listed)

    # ------------------------------------------------------------ by type

    def _string(self, found: Found, value: str, path: str) -> None:
        schema = self.schema
        most, least = schema.get("maxLength"), schema.get("minLength")
        if most is not None and len(value) > most:
            message = f"{path} in body should be at most {most} chars long"
            found.add("long", path, message, value, most)
        elif least is not None and len(value) < least:
            message = f"{path} in body should be at least {least} chars long"
            found.add("short", path, message, value)
        elif (pattern := schema.get("pattern")) and not formats.compiled(pattern).search(value):
            found.add("pattern", path, f"{path} in body should match '{pattern}'", value)
        if self.format and (check := formats.check_of(self.format)) and not check(value):
            message = f'{path} in body must be of type {self.format}: "{value}"'
            found.add("type", path, message, value)

    def _number(self, found: Found, value: float, path: str) -> None:
        schema = self.schema
        found.count += 1
        _range(found, self, value, path)
        factor = schema.get("multipleOf")
        if factor is not None and not _is_multiple(value, factor):
            message = f"{path} in body should be a multiple of {go_number(factor)}"
            found.add("multiple", path, message, value)
        most, least = schema.get("maximum"), schema.get("minimum")
        if most is not None:
            if schema.get("exclusiveMaximum"):
                if value >= most:
                    message = f"{path} in body should be less than {_bound(value, most)}"
                    found.add("max", path, message, value)
            elif value > most:
                bound = _bound(value, most)
                message = f"{path} in body should be less than or equal to {bound}"
                found.add("max", path, message, value)
        if least is not None:
            if schema.get("exclusiveMinimum"):
                if value <= least:
                    message = f"{path} in body should be greater than {_bound(value, least)}"
                    found.add("min", path, message, value)
            elif value < least:
                bound = _bound(value, least)
                message = f"{path} in body should be greater than or equal to {bound}"
                found.add("min", path, message, value)

    def _list(self, found: Found, value: list[Any], path: str, old: Any) -> None:
        items = self._items
        if items is not None:
            before = self._by_keys(old) if self._keys and old.__class__ is list else {}
            for i, item in enumerate(value):
                was = before.get(self._key(item), NOTHING) if before else NOTHING
                found.merge(items.run(item, f"{path}[{i}]", was))
        size = len(value)
        least, most = self.schema.get("minItems"), self.schema.get("maxItems")
        if least is not None and size < least:
            message = f"{path} in body should have at least {least} items"
            found.add("few", path, message, size)
        if most is not None and size > most:
            message = f"{path} in body should have at most {most} items"
            found.add("many", path, message, size, most)
        found.count += 1

    def _key(self, item: Any) -> str:
        if item.__class__ is not dict:
            return ""
        return repr([item.get(key) for key in self._keys])

    def _by_keys(self, items: list[Any]) -> dict[str, Any]:
        return {self._key(item): item for item in items if item.__class__ is dict}

    def _map(self, found: Found, value: JSON, path: str, old: Any) -> None:
        size = len(value)
        least, most = self.schema.get("minProperties"), self.schema.get("maxProperties")
        if least is not None and size < least:
            message = f"{path} in body should have at least {least} properties"
            found.add("few", path, message, size)
        if most is not None and size > most:
            message = f"{path} in body should have at most {most} properties"
            found.add("many", path, message, size, most)
        known, before = self._schemas, {}
        if old.__class__ is dict and not self.atomic:
            before = old
        additional = self._additional
        for name, item in value.items():
            if name in known:
                was = before.get(name, NOTHING) if path or name not in _TYPE_META else NOTHING
                where = f"{path}.{name}" if path else name
                found.merge(self._property(name).run(item, where, was))
            elif additional is False:
                message = f"{path}.{name} in body is a forbidden property"
                found.add("forbidden", path, message, name)
            elif additional.__class__ is Check:
                was = before.get(name, NOTHING)
                found.merge(additional.run(item, f"{path}.{name}", was))
        for name in self.required:
            if name not in value:
                where = f"{path}.{name}"
                found.add("required", where, f"{where} in body is required")

    def _property(self, name: str) -> Check:
        check = self._properties.get(name)
        if check is None:
            check = self._properties[name] = Check(self._schemas[name])
        return check

    def part(self, name: str) -> Check | None:
        """The check of a field, None when the schema does not name it."""
        return self._property(name) if name in self._schemas else None

    # ------------------------------------------------------------ junctors

    def _junct(self, found: Found, value: Any, path: str, old: Any) -> None:
        junctors = self._junctors
        if "anyOf" in junctors:
            best: Found | None = None
            for check in junctors["anyOf"]:
                outcome = check._run(value, path, old)  # noqa: SLF001
                if not outcome.complaints:
                    best = outcome
                    break
                if best is None or outcome.count > best.count:
                    best = outcome
            assert best is not None, "an empty list is no junctor"
            if best.complaints:
                message = f'"{path}" must validate at least one schema (anyOf)'
                found.add("composite", path, message)
            found.merge(best)
        if "oneOf" in junctors:
            self._one_of(found, value, path, old)
        if "allOf" in junctors:
            outcomes = [check._run(value, path, old) for check in junctors["allOf"]]  # noqa: SLF001
            for outcome in outcomes:
                found.merge(outcome)
            wrong = sum(1 for outcome in outcomes if outcome.complaints)
            if wrong:
                none = ". None validated" if wrong == len(outcomes) else ""
                message = f'"{path}" must validate all the schemas (allOf){none}'
                found.add("composite", path, message)
        if "not" in junctors:
            (check,) = junctors["not"]
            if not check._run(value, path, old).complaints:  # noqa: SLF001
                found.add("composite", path, f'"{path}" must not validate the schema (not)')

    def _one_of(self, found: Found, value: Any, path: str, old: Any) -> None:
        valid = 0
        first: Found | None = None
        best: Found | None = None
        for check in self._junctors["oneOf"]:
            outcome = check._run(value, path, old)  # noqa: SLF001
            if not outcome.complaints:
                valid += 1
                best = None
                first = first or outcome
            elif not valid and (best is None or outcome.count > best.count):
                best = outcome
        if valid == 1 and first is not None:
            found.merge(first)
            return
        how = f"Found {valid} valid alternatives" if valid else "Found none valid"
        message = f'"{path}" must validate one and only one schema (oneOf). {how}'
        found.add("composite", path, message)
        if best is not None:
            found.merge(best)


_TYPE_META = frozenset(("apiVersion", "kind"))
"""Never the old ones: both objects are shown in one version."""


def _json_type(value: Any) -> str:
    return _TYPES.get(value.__class__, "object")


_TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array"}


def same(one: Any, two: Any) -> bool:
    """Equality of JSON values: 1 is not true."""
    if one.__class__ is dict and two.__class__ is dict:
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if one.__class__ is list and two.__class__ is list:
        return len(one) == len(two) and all(map(same, one, two))
    return one.__class__ is two.__class__ and bool(one == two)


def _equal(value: Any, allowed: Any) -> bool:
    """As enums compare: numbers by value, whatever their type."""
    numbers = (int, float)
    if value.__class__ in numbers and allowed.__class__ in numbers:
        return bool(value == allowed)
    return same(value, allowed)


def go_number(value: float) -> str:
    """A float64 as Go's %v prints it."""
    value = float(value)
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = power = ""
    for places in range(17):  # the shortest text that is the same number
        digits, _, power = f"{value:.{places}e}".partition("e")
        if float(f"{digits}e{power}") == value:
            break
    exponent = int(power)
    if not -5 < exponent < 6:
        return f"{digits}e{power}"
    behind = len(digits.partition(".")[2]) - exponent
    return f"{value:.{max(0, behind)}f}"


def _bound(value: float, bound: float) -> str:
    """Integers are held to bounds as integers, others as floats."""
    return str(int(bound)) if value.__class__ is int else go_number(bound)


def _is_multiple(value: float, factor: float) -> bool:
    if factor <= 0:
        return False
    if value.__class__ is int and float(factor).is_integer():
        return value % int(factor) == 0
    quotient = value / factor if factor >= 1 else 1 / factor * value
    if not math.isfinite(quotient):
        return False
    return abs(quotient - round(quotient)) < 1e-9 * max(1.0, abs(quotient))


_BITS = {"int32": 31, "int64": 63}


def _range(found: Found, check: Check, value: float, path: str) -> None:
    """Whether a number fits the type that its schema names."""
    if len(check.types) != 1:
        return
    (type_,) = check.types
    if type_ == "integer":
        bits = _BITS.get(check.format, 63)
        fits = float(value).is_integer() and -(1 << bits) <= value < 1 << bits
    else:
        fits = check.format != "float" or abs(value) <= 3.4028234663852886e38
    if not fits:
        how = f"with format {check.format}" if check.format else "(default format)"
        message = f"Checked value must be of type {type_} {how} in {path}"
        found.add("composite", path, message)
