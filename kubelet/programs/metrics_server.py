"""metrics-server: is there, is healthy, and leaves the figures to whom it stands for.

The figures of ``metrics.k8s.io`` are the API server's own, asked of kubelets: the header STANDS_IN
of this program's answers says so (``apiserver/aggregation``), so its APIService takes the group
away only while no such pod is ready. Source: kubernetes-sigs/metrics-server (flags, paths).
"""

from __future__ import annotations

import json

from podwire.client import http1
from podwire.client.attached import STANDS_IN
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command

_ROOT = "/apis/metrics.k8s.io/v1beta1"
_RESOURCES = [
    {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind,
     "verbs": ["get", "list"]}
    for name, namespaced, kind in (("nodes", False, "NodeMetrics"), ("pods", True, "PodMetrics"))
]  # fmt: skip
_HEALTH = ("/livez", "/readyz", "/healthz")


async def run(command: Command) -> int:
    """``metrics-server [--secure-port 443]``; what else it is told changes nothing here."""
    port = flags(command.args).get("secure-port", "443")

    async def answer(request: http1.Request) -> http1.Response:
        if request.path in _HEALTH:
            return http1.text("ok")
        if request.path != _ROOT:
            return http1.text("404 page not found\n", 404)
        body = {
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": _ROOT.removeprefix("/apis/"), "resources": _RESOURCES,
        }  # fmt: skip
        headers = [("Content-Type", "application/json"), (STANDS_IN, "true")]
        return http1.Response(200, json.dumps(body).encode(), headers)

    if not port.isdigit():
        command.err(f'invalid argument "{port}" for "--secure-port" flag\n')
        return 1
    async with Server(command) as server:
        try:
            await server.http(int(port), answer, tls=True)
        except OSError as error:
            command.err(f"failed to create listener: listen tcp :{port}: bind: {in_use(error)}\n")
            return 1
        command.err(f'"Serving securely" address="[::]:{port}"\n')
        await server.until_signal()
    return TERMINATED
