"""Which finalizers a deletion leaves for the garbage collector, as in upstream's own tables.

Source: TestStoreDeleteWithOrphanDependents and TestStoreDeletionPropagation of kubernetes
apiserver pkg/registry/generic/registry (store_test.go). A ConfigMap's dependents go by default, a
Job's stay.
"""

from __future__ import annotations

import pytest

from podwire.api import kinds
from podwire.apiserver.registry.delete import Options, _propagation_finalizers

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
SAID = {"Foreground": [FOREGROUND], "Background": [], "Orphan": [ORPHAN]}


def left(kind, before, policy):
    """The finalizers of an object of a kind once it is being deleted."""
    metadata = {"name": "x", **({"finalizers": list(before)} if before else {})}
    _propagation_finalizers(kind, metadata, Options(propagation=policy))
    return metadata.get("finalizers", [])


@pytest.mark.parametrize("kind", [kinds.CONFIG_MAP, kinds.JOB], ids=["default", "orphans"])
@pytest.mark.parametrize("before", [(), (ORPHAN,), (FOREGROUND,)], ids=["none", *"of"])
@pytest.mark.parametrize("policy", [*SAID, ""])
def test_a_policy_counts_before_finalizers_and_those_before_the_default(kind, before, policy):
    """Two finalizers of which an object has one at most."""
    usual = [ORPHAN] if kind is kinds.JOB else []
    assert left(kind, before, policy) == (SAID[policy] if policy else list(before) or usual)


@pytest.mark.parametrize(
    ("before", "policy", "kind", "after"),
    [
        (("a/x", ORPHAN, "b/y"), "Orphan", kinds.CONFIG_MAP, ["a/x", ORPHAN, "b/y"]),
        (("a/x", "b/y"), "Orphan", kinds.CONFIG_MAP, ["a/x", "b/y", ORPHAN]),
        (("a/x", ORPHAN, "b/y"), "Background", kinds.JOB, ["a/x", "b/y"]),
        (("a/x", "b/y"), "Background", kinds.JOB, ["a/x", "b/y"]),
        (("a/x", ORPHAN, "b/y"), "", kinds.JOB, ["a/x", ORPHAN, "b/y"]),
        (("a/x", "b/y"), "", kinds.CONFIG_MAP, ["a/x", "b/y"]),
        (("a/x", "b/y"), "", kinds.JOB, ["a/x", "b/y", ORPHAN]),
    ],
)
def test_other_finalizers_keep_their_places(before, policy, kind, after):
    """What changes nothing leaves the order too."""
    assert left(kind, before, policy) == after


def test_nothing_depends_on_events():
    """They are not collected (rest.Unsupported)."""
    assert left(kinds.EVENT, (), "Orphan") == []
