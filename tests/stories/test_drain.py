"""Eviction by the API: what ``kubectl drain`` asks for, and what budgets say to it."""

from contextlib import contextmanager

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.property.turmoil import workload


@contextmanager
def booted():
    """Three nodes, a pod of ``web`` on each."""
    with VirtualCluster(ClusterSettings(time_profile="fast")) as made:
        made.boot()
        made.apply(workload("Deployment", "web", 3))
        made.converge()
        yield made


@pytest.fixture
def cluster():
    """A cluster whose pods may be evicted."""
    with booted() as made:
        yield made


@pytest.fixture(scope="module")
def kept():
    """One that keeps its pods."""
    with booted() as made:
        yield made


def budget(name="web", **spec):
    """A PodDisruptionBudget for the pods of ``web``."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def evict(cluster, pod, **options):
    """POST an Eviction."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "default"},
        **({"deleteOptions": options} if options else {}),
    }
    path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
    return cluster.run(cluster.cluster.client.send("POST", path, (), body))


def pods(cluster):
    return sorted(p.metadata.name for p in cluster.pods("default"))


def status(cluster, name="web"):
    found = cluster.get(kinds.POD_DISRUPTION_BUDGET, name).status
    return found.disruptions_allowed, found.current_healthy, found.desired_healthy


def test_without_a_budget_an_eviction_is_a_graceful_deletion(cluster):
    """201, a condition that tells why, the pod's own grace period."""
    victim = pods(cluster)[0]
    assert evict(cluster, victim).status == 201
    pod = cluster.get(kinds.POD, victim)
    assert pod.metadata.deletion_grace_period_seconds == 2
    condition = pod.condition("DisruptionTarget")
    assert (condition.status, condition.reason) == ("True", "EvictionByEvictionAPI")
    cluster.until(lambda: cluster.get(kinds.POD, victim) is None, 10, "it is gone")


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"minAvailable": 2}, (1, 3, 2)),
        ({"minAvailable": "50%"}, (1, 3, 2)),
        ({"maxUnavailable": 1}, (1, 3, 2)),
        ({"maxUnavailable": "34%"}, (2, 3, 1)),
        ({"minAvailable": 5}, (0, 3, 5)),
    ],
)
def test_a_budget_says_how_many_may_go(kept, spec, allowed):
    """By the number of pods, or by what their Deployment wants; percentages round up."""
    kept.apply(budget(**spec))
    kept.until(lambda: status(kept) == allowed, 10, f"{spec} allows {allowed}")
    kept.delete(kinds.POD_DISRUPTION_BUDGET, "web")


def test_a_spent_budget_refuses_until_the_replacement_is_ready(cluster):
    """429 with the cause that kubectl drain shows; then it goes on."""
    cluster.apply(budget(minAvailable=2))
    cluster.until(lambda: status(cluster)[0] == 1, 10, "one may go")
    first, second, _ = pods(cluster)
    evict(cluster, first)
    with pytest.raises(ApiError) as refused:
        evict(cluster, second)
    assert refused.value.code == 429
    assert refused.value.message.startswith("Cannot evict pod as it would violate")
    (cause,) = refused.value.causes
    assert cause.reason == "DisruptionBudget"
    assert cause.message.startswith("The disruption budget web needs 2 healthy pods and has ")
    assert cluster.get(kinds.POD, second).metadata.deletion_timestamp == ""
    cluster.until(lambda: status(cluster) == (1, 3, 2), 30, "the replacement is Ready")
    assert cluster.get(kinds.POD_DISRUPTION_BUDGET, "web").status.disrupted_pods == {}
    assert evict(cluster, second).status == 201


def test_a_budget_that_was_never_looked_at_refuses(cluster):
    """Nobody knows yet what it allows."""
    cluster.apply(budget(minAvailable=0))
    with pytest.raises(ApiError) as refused:
        evict(cluster, pods(cluster)[0])
    (cause,) = refused.value.causes
    assert cause.message == "The disruption budget web is still being processed by the server."


def test_two_budgets_for_one_pod_are_an_error(cluster):
    """As upstream: 500."""
    cluster.apply(budget(minAvailable=1), budget("more", minAvailable=1))
    with pytest.raises(ApiError, match="more than one PodDisruptionBudget"):
        evict(cluster, pods(cluster)[0])


def test_a_dry_run_evicts_nobody_and_spends_nothing(cluster):
    """deleteOptions.dryRun."""
    cluster.apply(budget(minAvailable=2))
    cluster.until(lambda: status(cluster)[0] == 1, 10, "one may go")
    before = pods(cluster)
    assert evict(cluster, before[0], dryRun=["All"]).status == 201
    cluster.sleep(5)
    assert pods(cluster) == before
    assert status(cluster) == (1, 3, 2)


def test_who_is_not_there_is_not_evicted(kept):
    """404."""
    with pytest.raises(ApiError) as refused:
        evict(kept, "nosuch")
    assert (refused.value.code, refused.value.message) == (404, 'pods "nosuch" not found')


def test_a_budget_with_a_selector_that_cannot_be_read_is_refused(kept):
    """422 with the field's path."""
    near = {"matchExpressions": [{"key": "a", "operator": "Near"}]}
    with pytest.raises(ApiError, match=r"spec\.selector\.matchExpressions\[0\]\.operator"):
        kept.apply(budget(selector=near))
