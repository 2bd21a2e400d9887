"""What one pod's life asks of the API server, request by request."""

from __future__ import annotations

from collections import Counter

from podwire.api import kinds
from podwire.client.counters import Request, Response
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster


class _Counted:
    """Requests by user, verb and resource, while it stands in for the server's ``handle``."""

    def __init__(self, cluster: VirtualCluster) -> None:
        self.server = cluster.cluster.server
        self.found: Counter[str] = Counter()
        self._handle = self.server.handle

    def __enter__(self) -> Counter[str]:
        self.server.handle = self._counted  # type: ignore[method-assign]
        return self.found

    def __exit__(self, *_: object) -> None:
        del self.server.handle

    async def _counted(self, request: Request) -> Response:
        parts = request.path.partition("/namespaces/")[2].split("/")[1:]
        user = request.user.name.rpartition(":")[2] if request.user else ""
        words = [user, request.method, parts[0] if parts else request.path, *parts[2:]]
        if user != "apiserver" and "leases" not in request.path:
            self.found[" ".join(words)] += 1
        return await self._handle(request)


def test_one_pod_of_a_deployment_costs_these_requests_and_no_other() -> None:
    """A pod is created, served and deleted: nothing is read that informers know, or told twice."""
    labels = {"app": "web"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "nginx:1.29"}]},
    }
    body = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
    }
    service = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": labels, "ports": [{"port": 80}]},
    }
    with VirtualCluster(ClusterSettings(nodes=1)) as cluster:
        cluster.boot()
        client = cluster.cluster.client
        cluster.run(client.create(kinds.SERVICE, service))
        cluster.run(client.create(kinds.DEPLOYMENT, body))
        cluster.converge()
        with _Counted(cluster) as born:
            cluster.run(client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 1}}, "default"))
            cluster.converge()
        with _Counted(cluster) as gone:
            cluster.run(client.patch(kinds.DEPLOYMENT, "web", {"spec": {"replicas": 0}}, "default"))
            cluster.converge()
    assert born == {
        "deployment-controller PATCH deployments status": 4,
        "deployment-controller PATCH replicasets": 1,
        "deployment-controller POST events": 1,
        "replicaset-controller POST pods": 1,
        "replicaset-controller POST events": 1,
        "replicaset-controller PATCH replicasets status": 3,
        "kube-scheduler POST pods binding": 1,
        "kube-scheduler POST events": 1,
        "node-1 GET configmaps": 1,  # a watch: the namespace's first pod with kube-root-ca.crt
        "node-1 POST serviceaccounts token": 1,
        "node-1 POST events": 4,  # Pulling, Pulled, Created, Started
        "node-1 PATCH pods status": 3,  # Pending, sandbox, Running
        "endpoint-controller PATCH endpoints": 2,
        "endpointslice-controller PATCH endpointslices": 2,
    }
    assert gone == {
        "deployment-controller PATCH deployments status": 3,
        "deployment-controller PATCH replicasets": 1,
        "deployment-controller POST events": 1,
        "replicaset-controller DELETE pods": 1,
        "replicaset-controller POST events": 1,
        "replicaset-controller PATCH replicasets status": 3,
        "node-1 POST events": 1,  # Killing
        "node-1 PATCH pods status": 1,
        "node-1 DELETE pods": 1,
        "endpoint-controller PATCH endpoints": 1,
        "endpointslice-controller PATCH endpointslices": 2,
    }
