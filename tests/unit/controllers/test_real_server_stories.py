"""The main stories once more, over the real API server: validation, defaulting and all."""

from __future__ import annotations

from podwire.api import kinds
from tests.unit.controllers.cluster import template, workload
from tests.unit.controllers.real import World, play


def test_a_deployment_rolls_and_its_service_follows():
    """Create, expose, update, delete: the same code as in compose."""

    async def story(w: World) -> None:
        for n in range(1, 4):
            await w.node(f"node-{n}")
        await w.client.create(kinds.DEPLOYMENT, workload("web", 3), "default")
        ports = [{"port": 80, "targetPort": 8080}]
        body = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
        await w.client.create(kinds.SERVICE, body, "default")
        await w.env.clock.sleep(30)
        deployment = await w.client.get(kinds.DEPLOYMENT, "web", "default")
        assert deployment.status.available_replicas == 3
        assert deployment.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
        assert deployment.metadata.generation == deployment.status.observed_generation == 1
        assert [c.reason for c in deployment.status.conditions] == [
            "MinimumReplicasAvailable", "NewReplicaSetAvailable"
        ]  # fmt: skip
        (piece,) = (await w.client.list(kinds.ENDPOINT_SLICE, "default")).items
        assert len(piece.endpoints) == 3
        assert all(e.conditions.ready and e.node_name for e in piece.endpoints)
        assert [p.port for p in piece.ports] == [8080]
        endpoints = await w.client.get(kinds.ENDPOINTS, "web", "default")
        assert len(endpoints.subsets[0].addresses) == 3
        patch = {"spec": {"template": template("web", "nginx:2")}}
        await w.client.patch(kinds.DEPLOYMENT, "web", patch, "default")
        await w.env.clock.sleep(60)
        pods = (await w.client.list(kinds.POD, "default")).items
        assert [p.spec.containers[0].image for p in pods] == ["nginx:2"] * 3
        assert len(await w.names(kinds.REPLICA_SET)) == 2
        await w.client.delete(kinds.DEPLOYMENT, "web", "default")
        await w.client.delete(kinds.SERVICE, "web", "default")
        await w.env.clock.sleep(30)
        for kind in (kinds.POD, kinds.REPLICA_SET, kinds.ENDPOINT_SLICE, kinds.ENDPOINTS):
            assert await w.names(kind) == [], kind

    play(story)


def test_stateful_and_daemon_sets_come_up():
    """Ordered names; one pod per node."""

    async def story(w: World) -> None:
        await w.node("node-1")
        await w.node("node-2")
        sts = workload("db", 2, serviceName="db")
        await w.client.create(kinds.STATEFUL_SET, sts, "default")
        ds = workload("agent", 0)
        del ds["spec"]["replicas"]
        await w.client.create(kinds.DAEMON_SET, ds, "default")
        await w.env.clock.sleep(30)
        names = await w.names(kinds.POD)
        assert names[-2:] == ["db-0", "db-1"]
        pods = (await w.client.list(kinds.POD, "default")).items
        agents = sorted(p.spec.node_name for p in pods if p.metadata.labels["app"] == "agent")
        assert agents == ["node-1", "node-2"]
        status = (await w.client.get(kinds.STATEFUL_SET, "db", "default")).status
        assert (status.ready_replicas, status.current_replicas) == (2, 2)
        patch = {"spec": {"template": template("db", "db:2")}}
        await w.client.patch(kinds.STATEFUL_SET, "db", patch, "default")
        patch = {"spec": {"template": template("agent", "agent:2")}}
        await w.client.patch(kinds.DAEMON_SET, "agent", patch, "default")
        await w.env.clock.sleep(60)
        pods = (await w.client.list(kinds.POD, "default")).items
        assert sorted(p.spec.containers[0].image for p in pods) == [
            "agent:2", "agent:2", "db:2", "db:2"
        ]  # fmt: skip
        status = (await w.client.get(kinds.DAEMON_SET, "agent", "default")).status
        assert (status.updated_number_scheduled, status.number_ready) == (2, 2)
        found = await w.client.get(kinds.DAEMON_SET, "agent", "default")
        count = "deprecated.daemonset.template.generation"
        assert found.metadata.annotations[count] == "2"
        counts = [p.metadata.labels.get("pod-template-generation") for p in pods]
        assert sorted(filter(None, counts)) == ["2", "2"]
        forged = {"metadata": {"annotations": {count: "7"}}}
        await w.client.patch(kinds.DAEMON_SET, "agent", forged, "default")
        found = await w.client.get(kinds.DAEMON_SET, "agent", "default")
        assert found.metadata.annotations[count] == "2", "only the server counts"

    play(story)


def test_a_namespace_ends_with_everything_in_it():
    """Terminating, emptied, finalized by the finalize subresource."""

    async def story(w: World) -> None:
        await w.node("node-1")
        await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "shop"}})
        await w.client.create(
            kinds.DEPLOYMENT, {**workload("web", 2), "metadata": {"name": "web"}}, "shop"
        )
        await w.env.clock.sleep(20)
        assert len(await w.names(kinds.POD, "shop")) == 2
        assert await w.names(kinds.SERVICE_ACCOUNT, "shop") == ["default"]
        await w.client.delete(kinds.NAMESPACE, "shop")
        await w.env.clock.sleep(60)
        names = await w.names(kinds.NAMESPACE, "")
        assert "shop" not in names
        assert "default" in names
        assert await w.names(kinds.POD, "shop") == []

    play(story)


def test_foreground_deletion_waits_for_the_pods():
    """kubectl delete --cascade=foreground."""

    async def story(w: World) -> None:
        await w.node("node-1")
        w.stop_s = 10
        await w.client.create(kinds.DEPLOYMENT, workload("web", 2), "default")
        await w.env.clock.sleep(20)
        await w.client.delete(kinds.DEPLOYMENT, "web", "default", propagation_policy="Foreground")
        await w.env.clock.sleep(5)
        assert await w.names(kinds.DEPLOYMENT) == ["web"]
        await w.env.clock.sleep(30)
        assert await w.names(kinds.DEPLOYMENT) == []
        assert await w.names(kinds.POD) == []

    play(story)
