"""A rolling update of 100 replicas in virtual time: how long its modelled minutes take here."""

from __future__ import annotations

import asyncio
import statistics
import time

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

REPLICAS = 100
RUNS = 3
LOOK_S = 0.01
"""Virtual seconds between two looks at the Deployment."""
NAME = "web"


def rollout() -> dict[str, str]:
    """Wall and processor time from the patch until ``rollout status`` would say it is done."""
    told = {}
    for probed in (False, True):
        walls, cpus, modelled = zip(*(_roll(probed) for _ in range(RUNS)), strict=True)
        label = f"{REPLICAS} replicas, 10 nodes" + (", readiness probes" if probed else "")
        told[f"{label}: wall"] = f"{statistics.median(walls):.2f} s"
        told[f"{label}: processor time"] = f"{statistics.median(cpus):.2f} s"
        told[f"{label}: modelled time"] = f"{statistics.median(modelled):.1f} s"
    return told


def _roll(probed: bool) -> tuple[float, float, float]:
    with VirtualCluster(ClusterSettings(nodes=10, time_profile="typical")) as cluster:
        cluster.boot()
        cluster.apply(_deployment(probed))
        cluster.converge()
        stamp = {"metadata": {"annotations": {"stamp": "1"}}}
        patch = {"spec": {"template": stamp}}
        began = cluster.now_s
        wall, cpu = time.perf_counter(), time.process_time()
        cluster.run(cluster.cluster.client.patch(kinds.DEPLOYMENT, NAME, patch, "default"))
        cluster.run(_finished(cluster))
        took = time.perf_counter() - wall, time.process_time() - cpu
        return *took, cluster.now_s - began


async def _finished(cluster: VirtualCluster) -> None:
    async with asyncio.timeout(600.0):
        while not _done(cluster):
            await cluster.env.clock.sleep(LOOK_S)


def _done(cluster: VirtualCluster) -> bool:
    entry = cluster.cluster.server.caches.of(kinds.DEPLOYMENT).get("default", NAME)
    assert entry is not None, "it was applied"
    view = entry.view
    status = view.status
    return bool(
        status.observed_generation >= view.metadata.generation
        and status.updated_replicas == status.replicas == REPLICAS
        and status.available_replicas == REPLICAS
    )


def _deployment(probed: bool) -> JSON:
    labels = {"app": NAME}
    server: JSON = {"name": "app", "image": "nginx:1.29", "ports": [{"containerPort": 80}]}
    if probed:
        server["readinessProbe"] = {"httpGet": {"path": "/", "port": 80}}
    pod = {"containers": [server], "terminationGracePeriodSeconds": 2}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
