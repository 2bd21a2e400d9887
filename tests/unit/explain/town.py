"""A small cluster's objects, and walks that ended in it."""

import msgspec

from podwire.api.views import EndpointSlice, NetworkPolicy, Node, Pod, Service
from podwire.dataplane.verdict import Branch, Fate, Flow, Hop, Step
from podwire.explain.objects import Objects


def pod(name, address, labels=None, namespace="default", ready=True, ports=(), **status):
    """A running pod."""
    containers = [{"name": "main", "image": "x", "ports": list(ports)}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"nodeName": "node-1", "containers": containers},
            "status": {"podIP": address, "phase": "Running", "conditions": conditions, **status},
        },
        Pod,
    )


def service(name, selector, namespace="default", address="10.96.0.20", target=8080):
    """A Service with one port."""
    ports = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": target}]
    spec = {"clusterIP": address, "selector": selector, "ports": ports}
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": namespace}, "spec": spec}, Service
    )


def endpoints(of, addresses, port=8080):
    """The EndpointSlice of a Service."""
    labels = {"kubernetes.io/service-name": of}
    return msgspec.convert(
        {
            "metadata": {"name": f"{of}-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            "ports": [{"name": "http", "protocol": "TCP", "port": port}],
        },
        EndpointSlice,
    )


def policy(name, selector=None, namespace="default"):
    """A policy that isolates and admits nothing."""
    spec = {"podSelector": {"matchLabels": selector or {}}, "policyTypes": ["Ingress", "Egress"]}
    meta = {"name": name, "namespace": namespace}
    return msgspec.convert({"metadata": meta, "spec": spec}, NetworkPolicy)


def node(name, address):
    """A node with its address."""
    addresses = [{"type": "InternalIP", "address": address}]
    return msgspec.convert({"metadata": {"name": name}, "status": {"addresses": addresses}}, Node)


HASHED = {"app": "front", "pod-template-hash": "abc", "apps.kubernetes.io/pod-index": "0"}
FRONT = pod("front", "10.244.0.2", HASHED)
BACK = pod("back", "10.244.1.2", {"app": "back"}, ports=[{"name": "web", "containerPort": 9090}])
STRANGER = pod("far", "10.244.2.2", {"team": "x"}, namespace="other")
TOWN = Objects(
    pods=(FRONT, BACK, STRANGER),
    services=(service("backend", {"app": "back"}),),
    slices=(endpoints("backend", ["10.244.1.2"]),),
    nodes=(node("node-1", "192.168.0.11"),),
    policies=(policy("deny-all"), policy("back-only", {"app": "back"})),
)


def flow(src="10.244.0.2", dst="10.244.1.2", port=8080):
    """A TCP flow from the front to the back."""
    return Flow(protocol="tcp", src=src, src_port=40000, dst=dst, dst_port=port)


STAGES = {Fate.REFUSED: "socket", Fate.LINK_DOWN: "wire"}


def ended(fate, *, rule="", stage="", about="FORWARD", result="drop", detail="", at=None):
    """A walk that ended in one step on node-1."""
    stage = stage or STAGES.get(fate, "filter")
    step = Step(stage=stage, object=about, result=result, detail=detail, rule=rule)
    hops = [Hop(node="node-1", steps=[step])]
    return Branch(fate=fate, hops=hops, node="node-1", flow=at or flow(), drawn=True)


def isolated(by="default/back-only,default/deny-all", who="default/back"):
    """The rule with which a policy agent ends an isolated pod's chain."""
    return f'-A cali-tw-x -m comment --comment "podwire:isolated {who} by {by}" -j DROP'


NO_ENDPOINTS = (
    '-A KUBE-SERVICES -m comment --comment "default/backend:http has no endpoints" -j REJECT'
)
DENIED = ended(Fate.DENIED_IN, rule=isolated())
