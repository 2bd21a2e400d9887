"""A pod's sandbox: its network namespace, attached by CNI, and the files made of its addresses.

Behaviour of pkg/kubelet/kuberuntime createPodSandbox; ``termination`` takes it down again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.kubelet import dns, launch
from podwire.kubelet.network import Sandbox, SandboxError
from podwire.kubelet.pids import PAUSE_UID, PidNamespace, system

if TYPE_CHECKING:
    from podwire.kubelet.worker import PodWorker


async def ensure(worker: PodWorker) -> None:
    """Try until the pod has its sandbox: once the network is ready, again after each failure."""
    kubelet = worker.kubelet
    while True:
        if not worker.pod.spec.host_network and not kubelet.network.ready.is_set():
            kubelet.event(
                worker.pod, "Warning", "NetworkNotReady",
                "network is not ready: container runtime network not ready: NetworkReady=false "
                "reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin "
                "not initialized",
            )  # fmt: skip
            await kubelet.network.ready.wait()
        if not worker.pod.spec.host_network:
            await kubelet.ctx.cni.available()
        failure = await worker.uninterrupted(_set_up(worker), "sandbox")
        if not failure:
            break
        kubelet.event(
            worker.pod, "Warning", "FailedCreatePodSandBox",
            f"Failed to create pod sandbox: rpc error: code = Unknown desc = {failure}",
        )  # fmt: skip
        await kubelet.spend(kubelet.profile.resync_s)
    worker.publish()


async def _set_up(worker: PodWorker) -> str:
    """Create a sandbox; the failure's message, or ''. Leaves nothing behind on failure."""
    kubelet, ctx = worker.kubelet, worker.kubelet.ctx
    await kubelet.spend(kubelet.profile.sandbox_s)
    host = worker.pod.spec.host_network
    sandbox_id = kubelet.rng.bytes(32).hex()
    netns = "" if host else f"cni-{ctx.ids.uid()}"
    try:
        dns.hostname(worker.pod, kubelet.config.node, kubelet.config.cluster_domain)
    except dns.DnsError as error:
        return str(error)
    sandbox = Sandbox(ctx.fabric, ctx.cni, kubelet.config.node, sandbox_id, netns)
    conflist = kubelet.network.conflist
    if host:
        sandbox.ips = kubelet.info.addresses
    elif conflist is None:
        return "cni plugin not initialized"
    else:
        try:
            await sandbox.set_up(worker.pod, conflist)
        except SandboxError as error:
            await sandbox.tear_down()
            return str(error)
    worker.sandbox = sandbox
    worker.facts.pod_ips, worker.facts.sandbox_ready = sandbox.ips, True
    files = await launch.pod_files(kubelet, worker.pod, sandbox.ips)
    pause = system("/pause", PAUSE_UID)
    shared = PidNamespace(parent=kubelet.pids) if worker.pod.spec.share_process_namespace else None
    (shared or kubelet.pids).add(pause)
    worker.around = launch.Surroundings(
        sandbox, sandbox.ips, files, worker.volumes, worker.instances, shared, pause
    )
    return ""
