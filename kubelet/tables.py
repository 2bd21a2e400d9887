"""Prints a kubelet's state as ``crictl pods`` and ``crictl ps -a`` do."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.kubelet.core import RUNNING
from podwire.kubelet.state import Kubelet

POD_HEADER = ("POD ID", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "IP", "NETNS")
CONTAINER_HEADER = ("CONTAINER", "IMAGE", "STATE", "NAME", "ATTEMPT", "POD ID", "POD")
SHORT = 13
"""How many characters of an id crictl shows."""


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, columns aligned by spaces."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def pods(kubelet: Kubelet) -> str:
    """The sandboxes of a node."""
    rows = []
    for worker in kubelet.workers.values():
        meta, sandbox = worker.pod.metadata, worker.sandbox
        rows.append(
            (
                sandbox.id[:SHORT] if sandbox else "-",
                "Ready" if worker.facts.sandbox_ready else "NotReady",
                meta.name,
                meta.namespace,
                "0",
                worker.facts.pod_ips[0] if worker.facts.pod_ips else "-",
                (sandbox.netns or "host") if sandbox else "-",
            )
        )
    return render(POD_HEADER, rows)


def containers(kubelet: Kubelet) -> str:
    """The containers of a node, ended ones included."""
    rows = []
    for worker in kubelet.workers.values():
        sandbox = worker.sandbox.id[:SHORT] if worker.sandbox else "-"
        for record in worker.records.values():
            if not record.container_id:
                continue
            rows.append(
                (
                    record.container_id.rpartition("/")[2][:SHORT],
                    record.image,
                    "Running" if record.state == RUNNING else "Exited",
                    record.name,
                    str(record.restart_count),
                    sandbox,
                    worker.pod.metadata.name,
                )
            )
    return render(CONTAINER_HEADER, rows)
