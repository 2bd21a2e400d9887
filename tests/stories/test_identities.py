"""Roles are enforced, and every room has exactly the rights that its work needs."""

import json

import pytest

from podwire.api import kinds
from podwire.apiserver.server import DirectApi
from podwire.client.accounts import node
from podwire.client.api import Client
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import VirtualCluster

pytestmark = pytest.mark.xdist_group("identities")

TEMPLATE = """
    metadata: {labels: {app: %(name)s}}
    spec:
      containers:
      - name: c
        image: nginx
        resources: {requests: {cpu: 10m}}
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: keys}}]
        volumeMounts: [{name: s, mountPath: /s}]
      volumes: [{name: s, secret: {secretName: keys}}]
"""
WORK = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{a: b}}
---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{k: v}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template: {TEMPLATE % {"name": "web"}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template: {TEMPLATE % {"name": "db"}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template: {TEMPLATE % {"name": "agent"}}
---
apiVersion: v1
kind: ReplicationController
metadata: {{name: old}}
spec:
  replicas: 1
  selector: {{app: old}}
  template: {TEMPLATE % {"name": "old"}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick}}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      ttlSecondsAfterFinished: 1
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: c, image: busybox, command: [echo, hello]}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web}}
spec:
  minReplicas: 3
  maxReplicas: 4
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  metrics:
  - type: Resource
    resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{app: web}}}}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: q}}
spec: {{hard: {{pods: "50"}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: bare}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: bare}}
subsets: [{{addresses: [{{ip: 192.0.2.1}}], ports: [{{port: 80}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  ingressClassName: nginx
  tls: [{{hosts: [web.example], secretName: keys}}]
  rules:
  - host: web.example
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: all}}
spec: {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{{}}]}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {{name: old-token, annotations: {{kubernetes.io/service-account.name: default}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: short}}
"""
"""Something for each controller and agent to do."""


@pytest.fixture(scope="module")
def refusals():
    """A cluster at work, and whom its API server refused what."""
    settings = ClusterSettings(time_profile="fast", cni="calico", ingress="nginx")
    with VirtualCluster(settings, 3) as cluster:
        server = cluster.cluster.server
        refused, answer = [], server.answer

        async def spied(request):
            response = await answer(request)
            if response.status == 403:
                refused.append((request.user.name, request.method, request.path))
            return response

        server.answer = spied
        cluster.boot()
        cluster.apply(WORK)
        cluster.converge()
        yield cluster, refused


def test_no_room_asks_for_what_it_may_not(refusals):
    """While each controller and agent has something to do, a node dies and a namespace goes."""
    cluster, refused = refusals
    cluster.apply(
        '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "short"}}'
    )
    cluster.converge()
    cluster.sleep(70)
    cluster.delete(kinds.NAMESPACE, "short", "")
    cluster.delete(kinds.DEPLOYMENT, "web")
    cluster.power_off("node-3")
    cluster.sleep(400)
    cluster.power_on("node-3")
    cluster.sleep(30)
    assert refused == []
    assert cluster.get(kinds.NAMESPACE, "short", "") is None
    assert cluster.get(kinds.CLUSTER_ROLE, "view", "").rules
    assert cluster.get(kinds.SECRET, "old-token").data["token"]


def test_a_pods_token_is_who_it_is_at_the_modelled_address(refusals):
    """Its service account may what roles say, a made-up token nothing."""
    cluster, refused = refusals
    before = list(refused)
    url = "https://kubernetes.default/api/v1/namespaces/default/configmaps/settings"
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    ask = f'curl -sk -H "Authorization: Bearer $(cat {token})" {url}'
    pod = next(p.metadata.name for p in cluster.pods("default") if p.ready)
    told = json.loads(cluster.exec(pod, "sh", "-c", ask).stdout)
    assert told["message"].startswith(
        'configmaps "settings" is forbidden: User "system:serviceaccount:default:default" cannot'
    )
    cluster.apply({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "look", "namespace": "default"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    })  # fmt: skip
    told = json.loads(cluster.exec(pod, "sh", "-c", ask).stdout)
    assert told["data"] == {"a": "b"}
    made_up = f'curl -sk -H "Authorization: Bearer a.b.c" {url}'
    assert json.loads(cluster.exec(pod, "sh", "-c", made_up).stdout)["code"] == 401
    del refused[len(before) :]


def test_a_kubelet_watches_what_its_pods_refer_to_and_lets_go_of_it(refusals):
    """One watch for each object and node, however many pods refer to it."""
    cluster, _ = refusals
    cache = cluster.cluster.server.caches.of(kinds.SECRET)

    def watches():
        return [scope for scope in cache._watchers if scope[2] == "mine"]

    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}})
    for name in ("one", "two"):
        env = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "a"}}}
        env["valueFrom"]["secretKeyRef"]["optional"] = True
        container = {"name": "c", "image": "nginx", "env": [env]}
        spec = {"nodeName": "node-1", "containers": [container]}
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    cluster.converge()
    assert watches() == [("default", "metadata.name", "mine")]
    assert len(cache._watchers["default", "metadata.name", "mine"]) == 1
    kubelet = Client(DirectApi(cluster.cluster.server, node("node-1")))
    assert cluster.run(kubelet.get(kinds.SECRET, "mine", "default")).metadata.name == "mine"
    for name in ("one", "two"):
        cluster.delete(kinds.POD, name, grace_s=0)
    cluster.sleep(5)
    assert watches() == []
