"""etcd as a port that is healthy: its gRPC health service, no database inside."""

from __future__ import annotations

from urllib.parse import urlsplit

from podwire.client import grpc
from podwire.kubelet.programs.agnhost_grpc import health_service
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import Server, in_use
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``etcd [--listen-client-urls http://0.0.0.0:2379]``: SERVING; its API is not modelled.

    Source: etcd-io/etcd server/etcdserver/api/v3rpc/grpc.go (the server's health is service "").
    """
    urls = flags(command.args).get("listen-client-urls", "http://localhost:2379").split(",")
    try:
        ports = [urlsplit(url).port or 2379 for url in urls]
    except ValueError as error:
        raise UsageError(f"invalid value for flag -listen-client-urls: {error}", 2) from None

    def healthy(service: str) -> grpc.Health | None:
        return None if service else grpc.Health.SERVING

    async with Server(command) as server:
        for url, port in zip(urls, ports, strict=True):
            try:
                await server.grpc(port, health_service(healthy))
            except OSError as error:
                command.err(f"listen tcp :{port}: bind: {in_use(error)}\n")
                return 1
            command.err(f'{{"level":"info","msg":"serving client traffic insecurely","address":'
                        f'"{urlsplit(url).netloc}"}}\n')  # fmt: skip
        await server.until_signal("TERM", "INT")
    return 0
