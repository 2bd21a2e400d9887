"""A whole cluster over framed bindings tells the same story as over direct ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from podwire.api import kinds
from podwire.sim import virtual
from podwire.sim.manifests import load
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster
from tests.property.framed_cluster import FramedCluster

ARTICLE = Path(__file__).resolve().parents[2] / "examples/article"


def story(cluster: VirtualCluster) -> list[Any]:
    """What a person sees of a cluster: objects, answers, fates, logs."""
    cluster.apply(*load([ARTICLE]))
    cluster.converge()
    seen: list[Any] = [
        sorted((pod.metadata.labels.get("app", ""), pod.ready) for pod in cluster.pods()),
        cluster.exec("deploy/frontend", "nslookup", "backend").code,
        cluster.exec("deploy/frontend", "curl", "-s", "http://backend/hostname").stdout[:8],
        cluster.exec("deploy/frontend", "sh", "-c", "echo out; echo err >&2; exit 3"),
        cluster.exec("deploy/frontend", "curl", "-sS", "-m", "2", "http://backend:81").code,
        [
            cluster.trace("deploy/frontend", to, destination_namespace=namespace).fate
            for to, namespace in (
                ("svc/backend:80", ""), ("svc/backend:80", "production"), ("backend:80", ""),
                ("1.1.1.1:443", ""),
            )
        ],
    ]  # fmt: skip
    cluster.delete(kinds.POD, cluster.pods()[0].metadata.name)
    cluster.converge()
    seen.append(len([pod for pod in cluster.pods() if pod.ready]))
    return seen


@pytest.mark.parametrize("cni", ["flannel", "calico"])
def test_rooms_behind_pipes_make_the_same_cluster(
    cni: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost between encode and decode, and nothing hangs."""
    settings = ClusterSettings(cni=cni, time_profile="fast")
    with VirtualCluster(settings, seed=3) as direct:
        expected = story(direct)
    monkeypatch.setattr(virtual, "Cluster", FramedCluster)
    with VirtualCluster(settings, seed=3) as framed:
        assert isinstance(framed.cluster, FramedCluster)
        assert story(framed) == expected
