"""The engine against a slow model of the same rules, written for one small shape of objects.

The model knows an object as a flat table of paths: labels, a scalar, an atomic selector, and
containers by name with their own scalars and environment. It has no types, no trees and no merge.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.api.managed import fields as sets
from podwire.api.managed import managers
from podwire.api.managed.apply import apply
from podwire.api.managed.compare import compare
from podwire.api.managed.managers import APPLY, UPDATE, Manager
from podwire.api.managed.plans import plan_of
from podwire.api.managed.typed import field_set, merge
from podwire.api.status import ApiError
from tests.rotation import examples

STEP = plan_of(kinds.DEPLOYMENT)
ZERO: Any = {"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {}}}}
NODE = object()
"""What the model holds for a map or an item, beside the scalars within."""

VALUES = st.sampled_from("123")
ENV = st.dictionaries(st.sampled_from("ST"), VALUES, max_size=2)
CONTAINERS = st.dictionaries(
    st.sampled_from("abc"),
    st.fixed_dictionaries({}, optional={"image": VALUES, "env": ENV}),
    max_size=3,
)
SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3),
        "replicas": st.integers(1, 3),
        "selector": VALUES,
        "containers": CONTAINERS,
    },
)
NAMES = st.sampled_from(["one", "two", "three"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["update", "apply", "force"]), NAMES, SHAPES), max_size=8
)


def built(shape: Any) -> Any:
    """The object (or configuration) of a shape; empty maps and lists are left out, as stored."""
    spec: Any = {}
    if "replicas" in shape:
        spec["replicas"] = shape["replicas"]
    template: Any = {}
    if "selector" in shape:
        template["nodeSelector"] = {"disk": shape["selector"]}
    if shape.get("containers"):
        listed = []
        for name, fields in shape["containers"].items():
            item = {"name": name}
            if "image" in fields:
                item["image"] = fields["image"]
            if fields.get("env"):
                item["env"] = [{"name": n, "value": v} for n, v in fields["env"].items()]
            listed.append(item)
        template["containers"] = listed
    if template:
        spec["template"] = {"spec": template}
    found: Any = {"spec": spec} if spec else {}
    if shape.get("labels"):
        found["metadata"] = {"labels": dict(shape["labels"])}
    return found


def flat(obj: Any) -> dict[tuple[str, ...], Any]:
    """The model's table of an object."""
    table: dict[tuple[str, ...], Any] = {}
    spec = obj.get("spec", {})
    labels = obj.get("metadata", {}).get("labels")
    if labels is not None:
        table["f:metadata", "f:labels"] = NODE
        for name, value in labels.items():
            table["f:metadata", "f:labels", f"f:{name}"] = value
    if "replicas" in spec:
        table["f:spec", "f:replicas"] = spec["replicas"]
    template = spec.get("template", {}).get("spec", {})
    inside = ("f:spec", "f:template", "f:spec")
    if "nodeSelector" in template:
        table[*inside, "f:nodeSelector"] = str(template["nodeSelector"])
    for item in template.get("containers") or ():
        at = (*inside, "f:containers", f'k:{{"name":"{item["name"]}"}}')
        table[at] = NODE
        for name in ("name", "image"):
            if name in item:
                table[*at, f"f:{name}"] = item[name]
        if item.get("env"):
            table[*at, "f:env"] = NODE
        for variable in item.get("env") or ():
            here = (*at, "f:env", f'k:{{"name":"{variable["name"]}"}}')
            table[here] = NODE
            for name in ("name", "value"):
                if name in variable:
                    table[*here, f"f:{name}"] = variable[name]
    return table


def claimed(config: Any) -> set[tuple[str, ...]]:
    """What a configuration owns: everything but the maps and lists themselves."""
    return {
        path
        for path, value in flat(config).items()
        if value is not NODE or path[-1].startswith("k:")
    }


class Model:
    """Tables and sets of paths."""

    def __init__(self) -> None:
        self.table: dict[tuple[str, ...], Any] = {}
        self.owners: dict[tuple[str, str], set[tuple[str, ...]]] = {}

    def write(
        self, after: dict[tuple[str, ...], Any], besides: Any, emptied: Any = ()
    ) -> set[tuple[str, ...]]:
        """Everybody but ``besides`` loses what changed or went; what changed.

        Maps that an apply ``emptied`` are null when it is compared: their owners keep them.
        """
        touched = {p for p, v in after.items() if p not in self.table or self.table[p] != v}
        gone = set(self.table) - set(after) - set(emptied)
        for who in self.owners:
            if who != besides:
                self.owners[who] = self.owners[who] - touched - gone
        self.table = after
        return touched

    def update(self, name: str, obj: Any) -> None:
        who = (name, UPDATE)
        touched = self.write(flat(obj), None)
        self.owners[who] = self.owners.get(who, set()) | touched

    def apply(self, name: str, config: Any, merged: Any, *, force: bool) -> bool:
        """Whether there was no conflict. ``merged`` is what the engine made, if it made something:
        the model checks its fields, and trusts its order.
        """
        who, wanted, said = (name, APPLY), claimed(config), flat(config)
        last = self.owners.get(who, set())
        others = {p for w, owned in self.owners.items() if w != who for p in owned}
        after = {**self.table, **said}
        gone = {p for p in last - wanted - others if p in after}
        items = [p for p in gone if p[-1].startswith("k:")]
        after = {
            p: v for p, v in after.items()
            if p not in gone and not any(p[: len(i)] == i for i in items)
        }  # fmt: skip
        emptied = [
            p for p, v in after.items()
            if v is NODE and not p[-1].startswith("k:")
            and not any(q != p and q[: len(p)] == p for q in after)
        ]  # fmt: skip
        for p in emptied:
            del after[p]
        touched = {p for p, v in after.items() if p not in self.table or self.table[p] != v}
        if not force and touched & others:
            return False
        assert merged is None or flat(merged) == after
        self.write(after, who, emptied)
        self.owners[who] = wanted
        return True


def tidy(obj: Any) -> Any:
    """What a decoder leaves out: nulls, and structs that became empty."""
    if isinstance(obj, dict):
        return {k: t for k, v in obj.items() if (t := tidy(v)) not in (None, {}, [])}
    return [tidy(item) for item in obj] if isinstance(obj, list) else obj


def stored(obj: Any) -> Any:
    """An object as it is kept: tidy, with the structs that Go always prints."""
    return merge(STEP, deepcopy(ZERO), tidy(obj))


def owners(entries: Any) -> dict[tuple[str, str], set[tuple[str, ...]]]:
    return {(e["manager"], e["operation"]): set(sets.paths(managers.owned_by(e))) for e in entries}


@settings(max_examples=examples(300), deadline=None)
@given(STEPS)
def test_random_histories_of_three_managers_end_as_the_model_says(steps):
    """Values, owners and conflicts after every create, update and apply."""
    model, live, entries, tracked = Model(), deepcopy(ZERO), [], False
    for number, (verb, name, shape) in enumerate(steps):
        now, obj = f"2026-01-01T00:00:{number:02}Z", built(shape)
        if verb == "update":
            by = Manager(name, UPDATE, "apps/v1")
            if tracked and not entries:
                continue  # nobody is tracked any more: the next apply would start over
            obj = stored(obj)
            entries = managers.sealed(managers.updated(STEP, live, obj, entries, by, now, {}))
            live = obj
            model.update(name, obj)
        else:
            if tracked and not entries:
                continue
            try:
                found = apply(
                    STEP, live, obj, entries, Manager(name, APPLY, "apps/v1"), now, {}, ZERO,
                    force=verb == "force", new=not entries,
                )  # fmt: skip
            except ApiError:
                assert not model.apply(name, obj, None, force=False)
                continue
            live, entries = stored(found.obj), managers.sealed(found.entries)
            assert model.apply(name, obj, live, force=verb == "force")
        tracked = tracked or bool(entries)
        model.owners = {who: owned for who, owned in model.owners.items() if owned}
        assert flat(live) == model.table
        assert owners(entries) == model.owners


@given(SHAPES, SHAPES)
def test_a_comparison_tells_the_one_object_from_the_other(one, two):
    """What was touched and removed is exactly what differs between the tables."""
    old, new = stored(built(one)), stored(built(two))
    before = deepcopy((old, new))
    touched, removed = compare(STEP, old, new)
    was, now = flat(old), flat(new)
    changed = {p for p, v in now.items() if p not in was or was[p] != v}
    assert set(sets.paths(touched)) == changed
    assert set(sets.paths(removed)) == set(was) - set(now)
    assert (old, new) == before


@given(SHAPES, SHAPES)
def test_a_merge_has_the_fields_of_both(one, two):
    """Where nothing is removed the field set is the union, and merging twice changes nothing."""
    live, config = built(one), built(two)
    merged = merge(STEP, live, config)
    assert claimed(merged) == claimed(live) | claimed(config)
    assert field_set(STEP, merged) == sets.union(field_set(STEP, live), field_set(STEP, config))
    assert merge(STEP, merged, config) == merged


@given(SHAPES, SHAPES, SHAPES)
def test_applying_again_changes_nothing(start, config, other):
    """Neither the object nor one entry, whatever others did before."""
    entries = managers.created(STEP, ZERO, built(start), Manager("c", UPDATE, "v1"), "1", {})
    first = apply(
        STEP, built(start), built(other), entries, Manager("o", APPLY, "v1"), "2", {}, ZERO,
        force=True, new=not entries,
    )  # fmt: skip
    by = Manager("a", APPLY, "v1")
    found = first
    for now in ("3", "4"):
        before = found
        found = apply(
            STEP, tidy(before.obj), built(config), managers.sealed(before.entries), by, now, {},
            ZERO, force=True, new=True,
        )  # fmt: skip
    assert tidy(found.obj) == tidy(before.obj)
    assert managers.sealed(found.entries) == managers.sealed(before.entries)


@pytest.mark.parametrize("name", ["a", "c"])
@given(SHAPES)
def test_whoever_applies_nothing_leaves_what_others_own(name, start):
    """An empty configuration takes only one's own."""
    obj = stored(built(start))
    entries = managers.created(STEP, ZERO, obj, Manager("c", UPDATE, "v1"), "1", {})
    found = apply(
        STEP, obj, {}, entries, Manager(name, APPLY, "v1"), "2", {}, ZERO, force=False, new=True
    )
    assert found.obj == obj
    assert managers.sealed(found.entries) == managers.sealed(entries)
