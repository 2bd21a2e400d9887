"""Builders of pods, namespaces and policies."""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.views import Namespace, NetworkPolicy, Pod
from podwire.netpol.evaluator import Evaluator


def pod(name: str, ip: str, node: str = "node-1", ports: Any = (), **more: Any) -> Pod:
    """``ns/name`` with labels given as ``labels={...}``; ports are (name, number, protocol).
    Its second address is ``fd00:10:244:...`` with the same numbers.
    """
    ips = [{"ip": ip}] if ip else []
    if ip.count(".") == 3:
        *_, subnet, host = ip.split(".")
        ips.append({"ip": f"fd00:10:244:{subnet}::{host}"})
    namespace, _, name = name.rpartition("/")
    body = {
        "metadata": {
            "name": name,
            "namespace": namespace or "default",
            "labels": more.get("labels", {"app": name}),
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": more.get("host_network", False),
            "containers": [
                {
                    "name": "c",
                    "ports": [
                        {"name": n, "containerPort": p, "protocol": proto} for n, p, proto in ports
                    ],
                }
            ],
        },
        "status": {
            "podIP": ip,
            "podIPs": ips,
            "phase": more.get("phase", "Running"),
        },
    }
    return msgspec.convert(body, Pod)


def namespace(name: str, **labels: str) -> Namespace:
    return msgspec.convert({"metadata": {"name": name, "labels": labels}}, Namespace)


def policy(name: str, selector: Any = None, **spec: Any) -> NetworkPolicy:
    """``ns/name``; ``ingress``/``egress`` as in YAML, ``types`` for policyTypes."""
    space, _, name = name.rpartition("/")
    types = spec.pop("types", None)
    body = {
        "metadata": {"name": name, "namespace": space or "default"},
        "spec": {
            "podSelector": selector or {},
            **({"policyTypes": types} if types else {}),
            **spec,
        },
    }
    return msgspec.convert(body, NetworkPolicy)


WEB = pod("web", "10.244.1.2", ports=[("http", 8080, "TCP"), ("dns", 53, "UDP")])
API = pod("api", "10.244.1.3")
FAR = pod("other/far", "10.244.2.2", node="node-2")
SPACES = [namespace("default"), namespace("other", team="blue")]


def asked(*policies: NetworkPolicy, pods: Any = (WEB, API, FAR), **more: Any) -> Evaluator:
    return Evaluator(pods, SPACES, policies, more.get("nodes"))
