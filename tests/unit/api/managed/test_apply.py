"""Managers and server-side apply on one object: who owns what after each write."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from podwire.api import kinds
from podwire.api.managed import fields as sets
from podwire.api.managed import managers, scale
from podwire.api.managed.apply import LAST_APPLIED, apply
from podwire.api.managed.managers import APPLY, UPDATE, Manager
from podwire.api.managed.plans import plan_of
from podwire.api.schema import type_named
from podwire.api.status import ApiError

DEPLOYMENT = plan_of(kinds.DEPLOYMENT)
STATUS = sets.of_paths([("f:status",)])


def load(text):
    return {"apiVersion": "apps/v1", "kind": "Deployment", **yaml.safe_load(text)}


class Live:
    """One object, its entries and a clock that ticks with every write."""

    def __init__(self, text="", by="creator"):
        self.obj: Any = {}
        self.entries: Any = []
        self.second = 0
        if text:
            self.obj = load(text)
            self.entries = managers.sealed(
                managers.created(DEPLOYMENT, self.zero, self.obj, self.who(by), self.now(), STATUS)
            )

    zero = type_named("apps.v1.Deployment").always

    def now(self):
        self.second += 1
        return f"2026-01-01T00:00:{self.second:02}Z"

    def who(self, name, operation=UPDATE, version="apps/v1"):
        return Manager(name, operation, version)

    def update(self, text, by="updater", version="apps/v1"):
        """Replace the object."""
        new, by = load(text), self.who(by, version=version)
        self.entries = managers.sealed(
            managers.updated(DEPLOYMENT, self.obj, new, self.entries, by, self.now(), STATUS)
        )
        self.obj = new

    def apply(self, text, by="applier", *, force=False):
        """Apply a configuration."""
        found = apply(
            DEPLOYMENT, self.obj, load(text), self.entries, self.who(by, APPLY), self.now(),
            STATUS, self.zero, force=force, new=not self.obj,
        )  # fmt: skip
        self.obj, self.entries = found.obj, managers.sealed(found.entries)

    def refused(self, text, by="applier"):
        """The conflict that an apply ends with; it changes nothing."""
        before = self.obj, self.entries
        with pytest.raises(ApiError) as caught:
            self.apply(text, by)
        assert (self.obj, self.entries) == before
        return caught.value

    def owned(self, name, operation=None):
        """The paths that a manager owns."""
        return [
            sets.shown(path)
            for entry in self.entries
            if entry["manager"] == name and operation in {None, entry["operation"]}
            for path in sets.paths(managers.owned_by(entry))
        ]

    def time(self, name):
        """When a manager wrote last, in seconds; None without a time."""
        [entry] = [entry for entry in self.entries if entry["manager"] == name]
        return int(entry["time"][-3:-1]) if "time" in entry else None


def test_the_first_apply_creates_and_owns_what_it_says():
    """Names and types belong to nobody."""
    live = Live()
    live.apply("{metadata: {name: web, labels: {a: b}}, spec: {replicas: 1}}")
    assert live.owned("applier") == [".metadata.labels.a", ".spec.replicas"]
    assert live.entries[0]["operation"] == "Apply"
    assert [*live.entries[0]] == [
        "manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1",
    ]  # fmt: skip


def test_an_update_takes_what_it_changed_from_everybody():
    """And what it left alone stays with its owners."""
    live = Live("{metadata: {labels: {a: b}}, spec: {replicas: 1, paused: true}}")
    assert live.owned("creator") == [
        ".metadata.labels", ".metadata.labels.a", ".spec.paused", ".spec.replicas",
    ]  # fmt: skip
    live.update("{metadata: {labels: {a: b, c: d}}, spec: {replicas: 2, paused: true}}")
    assert live.owned("updater") == [".metadata.labels.c", ".spec.replicas"]
    assert live.owned("creator") == [
        ".metadata.labels", ".metadata.labels.a", ".spec.paused",
    ]  # fmt: skip


def test_an_update_that_changes_nothing_writes_nothing():
    """The entries are the very same, times included."""
    live = Live("spec: {replicas: 1}")
    before = live.entries
    again = managers.updated(
        DEPLOYMENT, live.obj, load("spec: {replicas: 1}"), before, live.who("x"), "now", STATUS
    )
    assert again is before


def test_a_manager_whose_last_field_went_is_forgotten():
    """No empty entries."""
    live = Live("spec: {replicas: 1}")
    live.update("spec: {replicas: 2}")
    assert [entry["manager"] for entry in live.entries] == ["updater"]
    live.update("spec: {}", "cleaner")
    assert live.entries == []


def test_a_removal_leaves_the_remover_with_what_it_had():
    """To take a field away owns nothing, and does not count as a write of one's own fields."""
    live = Live("{metadata: {labels: {a: b}}, spec: {replicas: 1}}")
    live.update("{metadata: {labels: {a: b}}, spec: {replicas: 2}}", "updater")
    assert live.time("updater") == 2
    live.update("{metadata: {labels: {}}, spec: {replicas: 2}}", "updater")
    assert live.owned("creator") == [".metadata.labels"]
    assert live.time("updater") == 2


def test_writes_by_another_version_have_entries_of_their_own():
    """A manager is known by name, operation, version and subresource."""
    live = Live("spec: {replicas: 1}")
    live.update("spec: {replicas: 2}", "creator", "apps/v1beta1")
    live.update("spec: {replicas: 2, paused: true}", "creator")
    assert [(e["manager"], e["apiVersion"]) for e in live.entries] == [
        ("creator", "apps/v1beta1"), ("creator", "apps/v1"),
    ]  # fmt: skip


def test_two_appliers_of_the_same_value_share_it():
    """A conflict is a different value; whoever gives up leaves it to the other."""
    live = Live()
    live.apply("spec: {replicas: 3, paused: true}", "one")
    live.apply("spec: {replicas: 3}", "two")
    assert live.owned("one") == [".spec.paused", ".spec.replicas"]
    assert live.owned("two") == [".spec.replicas"]
    live.apply("spec: {paused: true}", "one")
    assert live.obj["spec"] == {"replicas": 3, "paused": True}
    live.apply("metadata: {name: web}", "two")
    assert live.obj["spec"] == {"paused": True}
    assert live.owned("two") == []


def test_a_conflict_names_the_manager_and_the_field():
    """One in one line, several as a list by manager; each is a cause."""
    live = Live()
    live.apply("spec: {replicas: 3, paused: true}", "one")
    error = live.refused("spec: {replicas: 4}", "two")
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    live.update("spec: {replicas: 5, paused: true}", "kubectl-edit")
    error = live.refused("spec: {replicas: 4, paused: false}", "two")
    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "kubectl-edit" using apps/v1:\n'
        '- .spec.replicas\nconflicts with "one":\n- .spec.paused'
    )
    assert [(c.reason, c.message, c.field) for c in error.causes] == [
        ("FieldManagerConflict", 'conflict with "kubectl-edit" using apps/v1', ".spec.replicas"),
        ("FieldManagerConflict", 'conflict with "one"', ".spec.paused"),
    ]


def test_force_takes_the_field():
    """The other manager loses it and keeps the rest."""
    live = Live()
    live.apply("spec: {replicas: 3, paused: true}", "one")
    live.apply("spec: {replicas: 4}", "two", force=True)
    assert live.obj["spec"] == {"replicas": 4, "paused": True}
    assert (live.owned("one"), live.owned("two")) == ([".spec.paused"], [".spec.replicas"])


def test_what_an_applier_no_longer_says_goes_unless_others_own_it():
    """Fields, entries of maps, items of lists."""
    container = "{name: c, image: nginx, env: [{name: A, value: '1'}, {name: B, value: '2'}]}"
    live = Live()
    live.apply(
        f"""
        metadata: {{labels: {{a: "1", b: "2"}}}}
        spec: {{template: {{spec: {{containers: [{container}, {{name: d, image: x}}]}}}}}}
        """
    )
    live.update(
        f"""
        metadata: {{labels: {{a: "1", b: "3"}}}}
        spec: {{template: {{spec: {{containers: [{container}, {{name: d, image: x}}]}}}}}}
        """
    )
    live.apply(
        """
        metadata: {labels: {}}
        spec: {template: {spec: {containers: [{name: c, image: nginx, env: [{name: A}]}]}}}
        """
    )
    assert live.obj["metadata"]["labels"] == {"b": "3"}
    assert live.obj["spec"]["template"]["spec"]["containers"] == [
        {"name": "c", "image": "nginx", "env": [{"name": "A"}]}
    ]


def test_what_a_controller_defaulted_inside_an_item_goes_with_the_item():
    """Nobody owns it, so nobody keeps it."""
    live = Live()
    live.apply("spec: {template: {spec: {containers: [{name: c}, {name: d}]}}}")
    live.obj = load(
        "spec: {template: {spec: {containers: [{name: c, image: x}, {name: d, image: x}]}}}"
    )
    live.apply("spec: {template: {spec: {containers: [{name: c}]}}}")
    assert live.obj["spec"]["template"]["spec"]["containers"] == [{"name": "c", "image": "x"}]


def test_what_nobody_applied_stays_when_an_applier_drops_its_parent():
    """Only one's own fields are pruned: a map's other entries are not."""
    live = Live("metadata: {labels: {own: x}}")
    live.apply("metadata: {labels: {mine: y}}")
    live.apply("spec: {replicas: 1}")
    assert live.obj["metadata"]["labels"] == {"own": "x"}


def test_an_apply_that_changes_nothing_keeps_its_time():
    """Also when it is by a manager that owns something else already."""
    live = Live()
    live.apply("spec: {replicas: 3}")
    live.apply("spec: {replicas: 3}")
    assert live.time("applier") == 1
    live.apply("spec: {replicas: 4}")
    assert live.time("applier") == 3


def test_fields_from_before_the_first_apply_are_remembered():
    """An object without managers gets one for what was there, and may so refuse an apply."""
    live = Live()
    live.obj = load("{metadata: {labels: {a: b}}, spec: {replicas: 1}}")
    error = live.refused("spec: {replicas: 2}")
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using apps/v1: '
        ".spec.replicas"
    )
    live.apply("spec: {replicas: 1}")
    assert live.owned("before-first-apply") == [
        ".metadata.labels", ".metadata.labels.a", ".spec.replicas",
    ]  # fmt: skip


def test_kubectl_takes_over_what_client_side_apply_owned():
    """No conflict about fields that are still as the annotation has them; it is kept true."""
    config = "{metadata: {name: web}, spec: {replicas: 1}}"
    text = msgspec.json.encode(load(config)).decode()
    annotation = f"metadata: {{name: web, annotations: {{{LAST_APPLIED}: '{text}'}}}}"
    live = Live(f"{annotation}\nspec: {{replicas: 1}}", "kubectl-client-side-apply")
    assert live.refused("{metadata: {name: web}, spec: {replicas: 2}}", "other").code == 409
    live.apply("{metadata: {name: web}, spec: {replicas: 2}}", "kubectl")
    assert live.obj["spec"]["replicas"] == 2
    assert live.obj["metadata"]["annotations"][LAST_APPLIED] == (
        '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},'
        '"spec":{"replicas":2}}\n'
    )
    live.update(f"{annotation}\nspec: {{replicas: 7}}", "hpa")
    assert live.refused("{metadata: {name: web}, spec: {replicas: 2}}", "kubectl").code == 409


def test_more_than_ten_updaters_are_merged_into_ancient_changes():
    """The oldest of one version, under the time of the younger."""
    text = "metadata: {labels: {creator: x}}"
    live = Live(text)
    labels = ["creator"]
    for number in range(12):
        labels.append(f"n{number:02}")
        listed = ", ".join(f"{name}: x" for name in labels)
        live.update(f"metadata: {{labels: {{{listed}}}}}", f"n{number:02}")
    names = [entry["manager"] for entry in live.entries]
    assert names == ["ancient-changes", *(f"n{number:02}" for number in range(3, 12))]
    assert live.owned("ancient-changes") == [
        ".metadata.labels", ".metadata.labels.creator", ".metadata.labels.n00",
        ".metadata.labels.n01", ".metadata.labels.n02",
    ]  # fmt: skip
    assert live.time("ancient-changes") == 4


def test_entries_are_ordered_as_upstream_orders_them():
    """Applies first, then by time, then by name."""
    given = [
        {"manager": m, "operation": o, "apiVersion": "v1", "time": t, "fieldsV1": {}}
        for m, o, t in (("b", "Update", "2"), ("a", "Update", "2"), ("z", "Update", "1"),
                        ("y", "Apply", "9"))
    ]  # fmt: skip
    assert [entry["manager"] for entry in managers.ordered(given)] == ["y", "z", "a", "b"]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("kubectl/v1.37.1 (linux/amd64)", "kubectl"),
        ("", "unknown"),
        ("/x", "unknown"),
        ("a\x00b\u200bc", "abc"),
        ("é" * 100, "é" * 64),
    ],
)
def test_a_manager_without_a_name_is_called_after_its_user_agent(agent, name):
    """Up to the slash, printable characters only, at most 128 bytes."""
    assert managers.name_of(agent) == name


def test_scale_takes_the_replicas_of_the_parent():
    """Whoever had them loses them; the entry of a scale has no time, as upstream's has none."""
    live = Live()
    live.apply("spec: {replicas: 3, paused: true}")
    before = scale.to_scale(live.entries)
    taken = managers.made(Manager("hpa", UPDATE, scale.VERSION, "scale"), scale.REPLICAS, "now")
    live.entries = managers.sealed(scale.to_parent(live.entries, before, [taken], "apps/v1"))
    assert live.owned("applier") == [".spec.paused"]
    assert live.owned("hpa") == [".spec.replicas"]
    assert live.entries[1]["subresource"] == "scale"
    assert live.time("hpa") is None
    kept = scale.to_scale(live.entries)
    assert scale.to_parent(live.entries, kept, kept, "apps/v1") == live.entries
