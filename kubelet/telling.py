"""What a kubelet says of its pods in its own log, in upstream's words.

Sources: pkg/kubelet/kubelet.go (SyncLoop), pod_workers.go, prober/prober.go,
kuberuntime_container.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.api.views import Pod

if TYPE_CHECKING:
    from podwire.kubelet.journal import Journal

_SKIPPED = ("BackOff", "Failed", "FailedMount", "FailedCreatePodSandBox", "NetworkNotReady")
_PROBES = ("Readiness", "Liveness", "Startup")


def changed(journal: Journal, old: Pod | None, new: Pod | None) -> None:
    """The API server told of a pod."""
    pod = new or old
    assert pod is not None, "a change has a before or an after"
    if new is None:
        line, what = 2553, "REMOVE"
    elif old is None or old.metadata.uid != new.metadata.uid:
        line, what = 2537, "ADD"
    elif new.metadata.deletion_timestamp and not old.metadata.deletion_timestamp:
        line, what = 2547, "DELETE"
    else:
        return
    journal.info_s(f"kubelet.go:{line}", f"SyncLoop {what}", source="api", pods=[pod.key])


def event(journal: Journal, pod: Pod, reason: str, message: str, container: str) -> None:
    """An event was recorded about a pod; of some, kubelet's log speaks as well."""
    about = {"pod": pod.key, "podUID": pod.metadata.uid}
    if reason == "Unhealthy":
        kind, _, said = message.partition(" probe failed: ")
        probe = next((name for name in _PROBES if name == kind), "")
        values = {"probeType": probe, **about, "containerName": container}
        journal.info_s(
            "prober.go:120", "Probe failed", **values, probeResult="failure", output=said
        )
    elif reason == "Killing":
        journal.info_s(
            "kuberuntime_container.go:811", "Killing container with a grace period",
            **about, containerName=container,
        )  # fmt: skip
    elif reason in _SKIPPED:
        journal.error_s("pod_workers.go:1324", "Error syncing pod, skipping", err=message, **about)
    elif reason == "Started":
        told = {"ID": pod.metadata.uid, "Type": "ContainerStarted"}
        journal.info_s("kubelet.go:2569", "SyncLoop (PLEG): event for pod", pod=pod.key, event=told)
