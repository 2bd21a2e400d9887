"""A controller's own status coming back is not what a pass is for; whatever else changed is."""

from podwire.api import kinds
from podwire.api.views import ReplicaSet
from podwire.api.views.meta import ObjectMeta
from podwire.api.views.workloads import ReplicaSetSpec, WorkloadStatus
from podwire.client.effects import Patch
from podwire.controllers.echoes import Echoes


def _set(revision, replicas=0, *, wanted=2, labels=None):
    return ReplicaSet(
        metadata=ObjectMeta(
            name="web", namespace="default", uid="u", resource_version=str(revision),
            labels=labels or {},
        ),
        spec=ReplicaSetSpec(replicas=wanted),
        status=WorkloadStatus(replicas=replicas),
    )  # fmt: skip


def _told(status, **metadata):
    patch = {"metadata": {"uid": "u", **metadata}, "status": status}
    return Patch(kinds.REPLICA_SET, "web", patch, "default", subresource="status")


def test_only_the_status_that_was_told_is_an_echo():
    """Not another's status, nor one that comes with other changes."""
    echoes, old = Echoes(), _set(1)
    assert not echoes.heard(old, _set(2, 2)), "nothing was told"
    assert echoes.told("default/web", old, [_told({"replicas": 2, "conditions": None})])
    assert echoes.heard(old, _set(2, 2))
    assert not echoes.heard(old, _set(2, 3)), "somebody else's status"
    assert not echoes.heard(old, _set(2, 2, wanted=3)), "its size changed as well"
    assert not echoes.heard(old, _set(2, 2, labels={"a": "b"})), "its labels changed as well"


def test_what_is_more_than_a_status_is_no_echo():
    """Annotations that go with it, or two patches: those passes look again."""
    echoes, old = Echoes(), _set(1)
    assert echoes.told("default/web", old, []) is None
    assert echoes.told("default/web", old, [_told({"replicas": 2}, annotations={})]) is None
    twice = [_told({"replicas": 2}), _told({"collisionCount": 1})]
    assert echoes.told("default/web", old, twice) is None
    assert not echoes.heard(old, _set(2, 2))


def test_a_set_that_is_gone_is_forgotten():
    """Its namesake's first status is news."""
    echoes, old = Echoes(), _set(1)
    echoes.told("default/web", old, [_told({"replicas": 2})])
    echoes.forget("default/web")
    assert not echoes.heard(old, _set(2, 2))
