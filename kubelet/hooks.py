"""Lifecycle hooks: postStart and preStop by exec, httpGet or sleep."""

from __future__ import annotations

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
    if handler.exec is not None:
        code, output = await run_captured(kubelet, instance, handler.exec.command)
        if code == 0:
            return ""
        words = " ".join(handler.exec.command)
        return f"command '{words}' exited with {code}: {output}"
    if handler.sleep is not None:
        await kubelet.ctx.clock.sleep(float(handler.sleep.get("seconds", 0)))
        return ""
    if handler.http_get is not None:
        success, message = await http_get(
            kubelet.ctx.sockets, kubelet.config.node, target, handler.http_get, HTTP_TIMEOUT_S
        )
        return "" if success else message
    return "lifecycle handler is not modelled"
