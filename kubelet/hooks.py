"""Lifecycle hooks: postStart and preStop by exec, httpGet or sleep.

Behaviour and words of pkg/kubelet/lifecycle (handlers.go): any answer to a request is good enough.
"""

from __future__ import annotations

from podwire.api.gotext import go_quoted
from podwire.api.views import LifecycleHandler
from podwire.kubelet.exec import run_captured
from podwire.kubelet.probes import Target, http_get
from podwire.kubelet.state import Instance, Kubelet

HTTP_TIMEOUT_S = 60.0
"""A hook's request has no timeout of its own upstream; the grace period bounds preStop."""


async def run_hook(
    kubelet: Kubelet, instance: Instance, target: Target, handler: LifecycleHandler
) -> str:
    """Run a hook; '' on success, else what went wrong."""
    meta = target.pod.metadata
    where = f'Container "{instance.name}" in Pod "{meta.name}_{meta.namespace}({meta.uid})"'
    if handler.exec is not None:
        argv = handler.exec.command
        code, output, errors = await run_captured(kubelet, instance, argv)
        if code == 0:
            return ""
        words = " ".join(argv)
        why = f"command '{words}' exited with {code}: {errors}"
        return (
            f"Exec lifecycle hook ([{words}]) for {where} failed - error: {why}, "
            f"message: {go_quoted(output)}"
        )
    if handler.sleep is not None:
        await kubelet.ctx.clock.sleep(float(handler.sleep.get("seconds", 0)))
        return ""
    if handler.http_get is not None:
        _, why = await http_get(
            kubelet.ctx.sockets, kubelet.config.node, target, handler.http_get, HTTP_TIMEOUT_S,
            "kube-lifecycle",
        )  # fmt: skip
        path = handler.http_get.path
        return f"HTTP lifecycle hook ({path}) for {where} failed - error: {why}" if why else ""
    return "Cannot run handler: invalid handler: tcpSocket was never supported"
