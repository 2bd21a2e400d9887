"""References that cannot be right: what is collected, and what is kept.

Source: TestConflictingData of kubernetes pkg/controller/garbagecollector (final states).
"""

from __future__ import annotations

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ConfigMap
from podwire.client.effects import Delete, Patch
from podwire.controllers.garbagecollector import core
from tests.unit.controllers.cluster import Cluster, play


def reference(version: str, kind: str, name: str, uid: str) -> JSON:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid}


POD = reference("v1", "Pod", "pod1", "pod1")
MAP = reference("v1", "ConfigMap", "owner", "owner")
CASES = [
    ("of an owner without a namespace", "ns1", reference("v1", "Node", "n1", "n1"), True),
    ("of an owner in its namespace", "ns1", MAP, True),
    ("of an owner in another namespace", "ns2", MAP, False),
    ("in no namespace, of an owner in one", "", MAP, True),
    ("in no namespace, of no owner in one", "", reference("v1", "Pod", "no", "no"), True),
    ("of an absent owner", "ns1", POD, False),
    ("of an absent owner of a version not served", "ns1",
     reference("extensions/v1beta1", "Deployment", "no", "no"), True),
    ("of an owner in a version not served", "ns1",
     reference("extensions/v1beta1", "ConfigMap", "owner", "owner"), True),
    ("of another kind with the owner's uid", "ns1",
     reference("v1", "Secret", "owner", "owner"), False),
    ("of another name with the owner's uid", "ns1",
     reference("v1", "ConfigMap", "other", "owner"), False),
]  # fmt: skip


@pytest.mark.parametrize("first", ["owner", "child"])
def test_conflicting_references(first: str) -> None:
    """A child goes only if what it names is gone; a wrong reference harms no right one."""

    async def story(c: Cluster) -> None:
        for name in ("ns1", "ns2"):
            c.namespace(name)
        if first == "owner":
            _owners(c)
            await c.env.clock.sleep(2)
        for number, (_, namespace, owner, _) in enumerate(CASES):
            meta = {"name": f"child{number}", "ownerReferences": [owner]}
            if namespace:
                c.api.put(kinds.SECRET, {"metadata": {**meta, "namespace": namespace}})
            else:
                c.api.put(kinds.PRIORITY_CLASS, {"metadata": meta, "value": 1})
        if first == "child":
            _owners(c)
        await c.env.clock.sleep(30)
        left = {body["metadata"]["name"] for k in (kinds.SECRET, kinds.PRIORITY_CLASS)
                for body in c.api.all(k)}  # fmt: skip
        for number, (title, _, _, kept) in enumerate(CASES):
            assert (f"child{number}" in left) == kept, title
        assert any("OwnerRefInvalidNamespace" in event for event in c.events("child2"))
        assert any("OwnerRefInvalidNamespace" in event for event in c.events("child3"))

    play(story)


def _owners(c: Cluster) -> None:
    c.api.put(kinds.NODE, {"metadata": {"name": "n1", "uid": "n1"}})
    meta = {"name": "owner", "namespace": "ns1", "uid": "owner"}
    c.api.put(kinds.CONFIG_MAP, {"metadata": meta})


GONE = "2026-01-01T00:00:00Z"


def item(name: str, owners: str = "", finalizers: tuple[str, ...] = (), at: str = "") -> core.Item:
    """``owners``: names of ConfigMaps; all of them are blocked by this dependent."""
    references = [
        {**reference("v1", "ConfigMap", owner, owner), "blockOwnerDeletion": True}
        for owner in owners.split()
    ]
    meta = {"name": name, "uid": name, "ownerReferences": references, "finalizers": finalizers}
    body = {"metadata": {**meta, "deletionTimestamp": at} if at else meta}
    return core.Item(kinds.CONFIG_MAP, msgspec.convert(body, ConfigMap))


@pytest.mark.parametrize(
    ("owners", "finalizers", "below", "decided"),
    [  # the cases of attemptToDeleteItem
        ("solid", (), "", ""),
        ("solid absent", (), "", "keeps solid"),
        ("solid waiting", (), "", "keeps solid"),
        ("absent", (), "", "Background"),
        ("absent", (core.ORPHAN,), "", "Orphan"),
        ("absent", (core.FOREGROUND,), "", "Foreground"),
        ("waiting", (), "", "Background"),
        ("waiting", (), "plain", "Foreground"),
        ("waiting", (), "circle", "unblocks, Foreground"),
    ],
)
def test_what_becomes_of_a_dependent(owners, finalizers, below, decided):
    """By whether its owners are there, absent, or wait for it; then by its own finalizers."""
    there = {
        "solid": item("solid").object,
        "waiting": item("waiting", "", (core.FOREGROUND,), GONE).object,
    }
    circle = ((core.FOREGROUND,), GONE) if below == "circle" else ((), "")
    dependents = [item("d", "x", *circle)] if below else []
    found = []
    for effect in core.collect(
        item("x", owners, finalizers), lambda r: there.get(r.name), dependents
    ):
        if isinstance(effect, Delete):
            found.append(effect.propagation_policy)
        elif isinstance(effect, Patch):
            left = effect.patch["metadata"]["ownerReferences"]
            blocks = any(r.get("blockOwnerDeletion") for r in left)
            kept = " ".join(r["name"] for r in left)
            found.append(f"keeps {kept}" if blocks else "unblocks")
    assert ", ".join(found) == decided
