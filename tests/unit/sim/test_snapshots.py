"""What a cluster in virtual time begins with: a copy of what requests would have made."""

import re

import pytest

from podwire.api import kinds
from podwire.sim import snapshots
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def _held(settings: ClusterSettings, seed: int = 0) -> tuple[dict[str, str], list[str]]:
    """Everything in the store of a cluster that has just begun, without uids; and those."""
    with VirtualCluster(settings, seed) as cluster:
        page = cluster.run(cluster.cluster.store.range("/registry/"))
    text = {kv.key: kv.value.decode() for kv in page.kvs}
    found = [uid for value in text.values() for uid in _UID.findall(value)]
    return {key: _UID.sub("", value) for key, value in text.items()}, found


def _sure(values: dict[str, str]) -> dict[str, str]:
    """Without what chance gives: the Ingress controller's address and ports, certificates."""
    return {
        key: value
        for key, value in values.items()
        if "ingress-nginx" not in f"{key} {value}" and "BEGIN CERTIFICATE" not in value
    }


@pytest.mark.parametrize(
    "settings",
    [
        ClusterSettings(nodes=3, zones=("a", "b"), time_profile="fast", ingress="nginx"),
        ClusterSettings(nodes=201, cni="calico", ip_family="dual"),
    ],
)
def test_a_copy_is_what_the_ordinary_road_makes(settings, monkeypatch):
    """The same objects, allocations among them; only the uids are of the cluster's own seed."""
    copied, uids = _held(settings)
    monkeypatch.setattr(snapshots, "newborn", lambda _: None)
    made, others = _held(settings, 1)
    assert _sure(copied) == _sure(made)
    assert len(uids) == len(others)
    assert set(uids).isdisjoint(others)


def test_two_seeds_share_no_uid_and_one_seed_gives_the_same():
    """Determinism holds: uids are drawn from the cluster's own ids."""
    settings = ClusterSettings(nodes=1, time_profile="fast")
    first, second, again = (_held(settings, seed)[1] for seed in (1, 2, 1))
    assert first == again
    assert set(first).isdisjoint(second)


def test_a_restored_cluster_writes_on_at_the_next_revision():
    """Each object has a revision of its own, as if it had been created a moment ago."""
    with VirtualCluster(ClusterSettings(nodes=1, time_profile="fast")) as cluster:
        roles = cluster.objects(kinds.CLUSTER_ROLE)
        revisions = [int(role.metadata.resource_version) for role in roles]
        assert len(set(revisions)) == len(revisions)
        made = cluster.run(
            cluster.cluster.client.create(
                kinds.CONFIG_MAP, {"metadata": {"name": "next", "namespace": "default"}}
            )
        )
        assert int(made.metadata.resource_version) > max(revisions)
