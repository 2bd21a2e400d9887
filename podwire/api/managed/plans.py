"""How the values of a type are owned, compiled once from the table of types.

A struct's fields are owned one by one unless the struct is atomic; so are a map's keys, the items
of lists that are maps (``k:``) or sets (``v:``). Everything else is one field.

Source: the x-kubernetes-list-type, -list-map-keys and -map-type marks of Kubernetes 1.37, and
kube-openapi pkg/schemaconv for what holds without a mark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.managed.fields import by_key, quoted, scalar
from podwire.api.schema import Field, Type, type_named, type_of
from podwire.api.view import JSON

LEAF, STRUCT, MAP, KEYED, SET, FREE = range(6)
"""One field; fields by name; keys; list items by key; list items by value; whatever it is: maps by
key, all else one field (where no schema says more)."""
MAPS, LISTS = frozenset((MAP, FREE)), frozenset((KEYED, SET))
"""Shapes of maps, and of lists that are not owned as one field."""

ATOMIC = frozenset((
    "admissionregistration.v1.MatchResources", "admissionregistration.v1.NamedRuleWithOperations",
    "admissionregistration.v1.ParamKind", "admissionregistration.v1.ParamRef",
    "admissionregistration.v1.Variable", "admissionregistration.v1alpha1.MatchResources",
    "admissionregistration.v1alpha1.NamedRuleWithOperations",
    "admissionregistration.v1alpha1.ParamKind", "admissionregistration.v1alpha1.ParamRef",
    "admissionregistration.v1beta1.MatchResources",
    "admissionregistration.v1beta1.NamedRuleWithOperations",
    "admissionregistration.v1beta1.ParamKind", "admissionregistration.v1beta1.ParamRef",
    "admissionregistration.v1beta1.Variable", "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector", "core.v1.EndpointAddress", "core.v1.EndpointPort",
    "core.v1.FileKeySelector", "core.v1.LocalObjectReference", "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm", "core.v1.ObjectFieldSelector", "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector", "core.v1.ScopeSelector", "core.v1.SecretKeySelector",
    "core.v1.SecretReference", "core.v1.TopologySelectorTerm", "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort", "networking.v1.ServiceBackendPort", "rbac.v1.RoleRef",
    "rbac.v1.Subject", "meta.v1.LabelSelector", "meta.v1.OwnerReference",
))  # fmt: skip
"""Structs that are owned as a whole (x-kubernetes-map-type: atomic on the definition)."""

_GRANULAR = frozenset((("core.v1.PersistentVolumeSpec", "claimRef"),))
"""Fields that are owned piece by piece though their struct is atomic elsewhere."""

_KEY_DEFAULTS = {"core.v1.ContainerPort": {"protocol": "TCP"},
                 "core.v1.ServicePort": {"protocol": "TCP"}}  # fmt: skip
"""What a list key is when an item leaves it out (defaults that the schema itself tells)."""

_INLINE_TWINS = {"core.v1.EphemeralContainerCommon": "core.v1.Container"}
"""Embedded structs that have no definition of their own, and whose lists are marked elsewhere."""


class KeysError(ValueError):
    """A list item that has none of its list's keys, or a value that is no list or map where the
    schema wants one; the message is upstream's.
    """


class Step:
    """How one value is owned: a field, a map's value, a list's item."""

    __slots__ = (
        "code",
        "getter",
        "item",
        "keeps",
        "key",
        "keys",
        "leaves",
        "opening",
        "other",
        "prefix",
        "shape",
        "shapes",
        "table",
    )

    def __init__(self, shape: int, code: str = "") -> None:
        self.shape = shape
        self.code = code
        """The schema's code of a scalar, to check what is applied."""
        self.key = ""
        """``f:name`` of a struct's field."""
        self.keeps = False
        """Whether Go keeps the unset field, as null or a zero struct: its coming and going is a
        change of value then, not of presence."""
        self.table: dict[str, Step] = {}
        """Fields of a struct, by name."""
        self.leaves: dict[str, str] = {}
        """The keys of those that are owned as one, by name."""
        self.other: Step | None = None
        """Fields that the struct does not declare (schemaless objects), if it may have such."""
        self.item: Step = self
        """Values of a map, items of a list."""
        self.keys: tuple[tuple[str, Any], ...] = ()
        """The keys of a list's items and what they are by default (None: absent)."""
        self.getter: Callable[[Any], Any] | None = None
        """Reads them of an item that has them all: one key's value, or a tuple."""
        self.prefix = ""
        """How the element of an item with one key begins: ``k:{"name":``."""
        self.opening = ""
        """The same in JSON."""
        self.shapes: dict[Any, Any] = {}
        """What ``managed.shapes`` remembers of values that have these keys."""

    def element(self, item: Any) -> str:
        """The path element of a list item. Raises KeysError."""
        if self.shape == SET:
            if item.__class__ is str:
                return "v:" + quoted(item)
            return self._element_of_set(item)
        if item.__class__ is not dict:
            what = "a null element" if item is None else "non-map elements"
            raise KeysError(f"associative list with keys may not have {what}")
        if self.prefix:
            value = item.get(self.keys[0][0])
            if value.__class__ is str:
                return f"{self.prefix}{quoted(value)}}}"
        return self._element_by_keys(item)

    @staticmethod
    def _element_of_set(item: Any) -> str:
        if isinstance(item, dict):
            raise KeysError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise KeysError("not supported: associative list with lists as elements")
        if item is None:
            raise KeysError("associative list without keys has an element that's an explicit null")
        return "v:" + scalar(item)

    def _element_by_keys(self, item: JSON) -> str:
        found = []
        for name, default in self.keys:
            value = item.get(name, default)
            if value is not None or name in item:
                found.append((name, value))
        if not found:
            listed = " ".join(f'"{name}"' for name, _ in self.keys)
            raise KeysError(
                f"associative list with keys has an element that omits all key fields [{listed}] "
                "(and doesn't have default values for any key fields)"
            )
        return by_key(found)


_LEAF = Step(LEAF)
_structs: dict[str, Step] = {}


def plan_of(kind: Kind[Any]) -> Step:
    """The plan of a served kind; one that knows metadata only when the table has no type."""
    if kind.custom is not None:
        return kind.custom.plan
    struct = type_of(kind)
    return plan(struct) if struct is not None else schemaless()


def plan(struct: Type) -> Step:
    """The plan of a type, compiled once."""
    found = _structs.get(struct.name)
    if found is None:
        # Entered before it is filled: types may contain themselves.
        found = _structs[struct.name] = Step(STRUCT)
        for owner, field in _rows(struct):
            step = _step(owner, field)
            step.key = f"f:{field.name}"
            step.keeps = _keeps(field)
            found.table[field.name] = step
            if step.shape == LEAF:
                found.leaves[field.name] = step.key
    return found


def _rows(struct: Type) -> list[tuple[str, Field]]:
    """Every field with the type that declares it, embedded ones included."""
    found = []
    for field in struct.own:
        if field.name:
            found.append((struct.name, field))
        else:
            found += _rows(type_named(field.ref))
    return found


def schemaless() -> Step:
    """The plan of objects without a schema: typed metadata, the rest as it comes."""
    found = _structs.get("")
    if found is None:
        found = _structs[""] = Step(STRUCT)
        found.other = Step(FREE)
        add_meta(found)
    return found


def add_meta(struct: Step) -> None:
    """Give a struct what every resource has: apiVersion, kind and typed metadata."""
    metadata = _copy(plan(type_named("meta.v1.ObjectMeta")))
    added = {"apiVersion": Step(LEAF, "s"), "kind": Step(LEAF, "s"), "metadata": metadata}
    for name, step in added.items():
        step.key = f"f:{name}"
    struct.table = {**added, **{k: v for k, v in struct.table.items() if k not in added}}
    leaves = {name: f"f:{name}" for name in ("apiVersion", "kind")}
    struct.leaves = {**leaves, **{k: v for k, v in struct.leaves.items() if k not in added}}


def _copy(struct: Step) -> Step:
    """A struct's step of its own for another place, sharing what it leads to."""
    found = Step(STRUCT)
    found.table, found.leaves, found.shapes = struct.table, struct.leaves, struct.shapes
    return found


def _keeps(field: Field) -> bool:
    if "z" in field.flags:
        return False
    return not field.omitempty or (not field.pointer and field.code in _STRUCT_CODES)


_STRUCT_CODES = frozenset("mtuqxr")
"""Codes of values that are Go structs: omitempty never leaves those out."""


def _step(owner: str, field: Field) -> Step:
    if field.shape == "[":
        return _list(owner, field)
    if field.shape == "{":
        if "a" in field.flags:
            return Step(LEAF, field.code)
        found = Step(MAP, field.code)
        found.item = _message(field.ref) if field.code == "{m" else Step(LEAF, field.code[1:])
        return found
    if field.code != "m":
        return Step(LEAF, field.code)
    if "a" in field.flags:
        return Step(LEAF, "m")
    if field.ref in ATOMIC and (owner, field.name) in _GRANULAR:
        return _copy(plan(type_named(field.ref)))
    return _message(field.ref)


def _message(name: str) -> Step:
    return Step(LEAF, "m") if name in ATOMIC else _copy(plan(type_named(name)))


def _list(owner: str, field: Field) -> Step:
    list_type, keys = field.list_type, field.list_keys
    twin = _INLINE_TWINS.get(owner)
    if not list_type and twin:
        same = type_named(twin).fields.get(field.name)
        if same is not None:
            list_type, keys = same.list_type, same.list_keys
    if not list_type and "merge" in field.patch_strategy.split(","):
        list_type = "map" if field.merge_key else "set"
        keys = (field.merge_key,) if field.merge_key else ()
    if list_type == "set":
        found = Step(SET, field.code)
        found.item = Step(LEAF, field.code[1:])
        return found
    if list_type != "map" or field.code != "[m":
        return Step(LEAF, field.code)
    found = Step(KEYED, field.code)
    found.item = _message(field.ref)
    return with_keys(found, keys, _KEY_DEFAULTS.get(field.ref, {}))


def with_keys(found: Step, keys: Sequence[str], defaults: JSON) -> Step:
    """The step of a list whose items are told apart by these keys."""
    found.keys = tuple((name, defaults.get(name)) for name in sorted(keys))
    found.getter = itemgetter(*sorted(keys)) if keys else None
    if len(keys) == 1:
        found.prefix = f"k:{{{quoted(keys[0])}:"
        found.opening = '"' + found.prefix.replace('"', '\\"')
    return found
