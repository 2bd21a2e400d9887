"""``run(ctx)``: one kubelet, from its start to its end."""

from __future__ import annotations

import asyncio
from functools import partial

from podwire.api import kinds
from podwire.api.podrefs import references
from podwire.api.views import ConfigMap, Object, Pod, Secret
from podwire.client import accounts
from podwire.client.api import Client
from podwire.client.ctx import Ctx
from podwire.client.informer import Informers
from podwire.client.recorder import Recorder
from podwire.kubelet import telling
from podwire.kubelet.admission import refusal, reject
from podwire.kubelet.disk import NodeDisk
from podwire.kubelet.images import Images
from podwire.kubelet.journal import Journal
from podwire.kubelet.network import NodeNetwork, collect_garbage
from podwire.kubelet.node import NodeAgent
from podwire.kubelet.resize import retry
from podwire.kubelet.shutdown import REJECTED
from podwire.kubelet.sources import Sources
from podwire.kubelet.state import Kubelet, KubeletConfig
from podwire.kubelet.static import StaticPods, is_mirror
from podwire.kubelet.status import StatusManager
from podwire.kubelet.worker import TERMINAL, PodWorker
from podwire.runtime.tasks import Nursery


async def run(ctx: Ctx) -> None:
    """Be the kubelet of ``ctx.config.node`` until cancelled.

    When cancelled, its programs end and their sockets close; what it told the kernel stays.
    """
    config: KubeletConfig = ctx.config
    node = config.node
    info = await ctx.fabric.node(node)
    client = Client(ctx.api, accounts.node(node), "kubelet")
    factory = Informers(client, ctx)
    rng = ctx.rng.child(f"kubelet/{node}")
    commons = config.commons
    async with Nursery() as nursery:
        if commons is None:
            services = factory.informer(kinds.SERVICE)
        else:
            common = commons.of(kinds.SERVICE)
            services = common.informer(ctx)
            nursery.start(common.follow(client, ctx), name=f"kubelet {node} services")
        kubelet = Kubelet(
            ctx=ctx,
            config=config,
            profile=config.profile,
            client=client,
            info=info,
            rng=rng,
            nursery=nursery,
            recorder=Recorder(ctx, client, "kubelet", node),
            statuses=StatusManager(client, ctx.clock, nursery, ctx.log),
            images=Images(ctx.clock, rng, config.profile, config.preloaded_images),
            disk=NodeDisk(ctx.fabric, node, nursery),
            network=NodeNetwork(ctx.fabric, node),
            services=services,
            config_maps=Sources(
                client,
                ctx,
                nursery,
                kinds.CONFIG_MAP,
                lambda pod: references(pod).config_maps,
                commons,
            ),
            secrets=Sources(
                client, ctx, nursery, kinds.SECRET, lambda pod: references(pod).secrets, commons
            ),
            journal=Journal(ctx.clock),
        )
        await _serve(kubelet, factory)


async def _serve(kubelet: Kubelet, factory: Informers) -> None:
    ctx, config, nursery = kubelet.ctx, kubelet.config, kubelet.nursery
    agent = NodeAgent(kubelet)
    kubelet.network.on_change = agent.kick
    kubelet.report = agent.kick
    kubelet.images.on_change = agent.kick_later
    left = await collect_garbage(ctx.fabric, ctx.cni, config.node)
    if left:
        ctx.log.info("removed sandboxes of an earlier kubelet", node=config.node, count=left)
    nursery.start(kubelet.network.watch(), name=f"kubelet {config.node} network")
    nursery.start(kubelet.recorder.run(), name=f"kubelet {config.node} events")
    nursery.start(agent.run(), name=f"kubelet {config.node} status")
    nursery.start(agent.hold_lease(), name=f"kubelet {config.node} lease")
    pods = factory.informer(kinds.POD, field_selector=f"spec.nodeName={config.node}")
    pods.on_change(partial(telling.changed, kubelet.journal))
    nodes = factory.informer(kinds.NODE, field_selector=f"metadata.name={config.node}")
    nursery.start(factory.run(), name=f"kubelet {config.node} informers")
    kubelet.node = partial(nodes.get, "", config.node)
    statics = StaticPods(kubelet)
    if config.streams is not None:
        config.streams.register(kubelet)
    try:
        await statics.load()
        nursery.start(statics.run(), name=f"kubelet {config.node} manifests")
        await factory.wait_synced()
        await kubelet.services.synced.wait()
        nodes.on_change(agent.observe)
        nodes.on_change(statics.node_changed)
        kubelet.config_maps.on_change(partial(_source_changed, kubelet, "configmap"))
        kubelet.secrets.on_change(partial(_source_changed, kubelet, "secret"))
        pods.on_change(partial(_pod_changed, kubelet, statics))
        await asyncio.get_running_loop().create_future()  # until cancelled
    finally:
        if config.streams is not None:
            config.streams.unregister(kubelet)


def _pod_changed(kubelet: Kubelet, statics: StaticPods, old: Pod | None, new: Pod | None) -> None:
    """Lead a change of a pod object to the pod's worker."""
    about = new or old
    assert about is not None, "a change has a before or an after"
    if is_mirror(about):
        statics.mirror_changed(old, new)
        return
    for sources in (kubelet.config_maps, kubelet.secrets):
        sources.refer(old, new)
    if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
        ended = kubelet.workers.get(old.metadata.uid)
        if ended is not None:
            ended.removed()
            if ended.done:
                del kubelet.workers[old.metadata.uid]
        elif old.metadata.uid in kubelet.rejected:
            kubelet.statuses.forget(old)
        kubelet.rejected.pop(old.metadata.uid, None)
    if new is None:
        return
    worker = kubelet.workers.get(new.metadata.uid)
    if worker is None and _rejected(kubelet, new):
        return
    if worker is None:
        worker = kubelet.workers[new.metadata.uid] = PodWorker(kubelet, new)
        kubelet.nursery.start(_live(kubelet, worker), name=f"pod {new.key} {new.metadata.uid}")
    worker.update(new)


def _rejected(kubelet: Kubelet, pod: Pod) -> bool:
    """Whether the node does not take a new pod, which fails then."""
    uid, alive = pod.metadata.uid, pod.status.phase not in TERMINAL
    if not alive or pod.metadata.deletion_timestamp:
        return kubelet.shutting_down
    if uid not in kubelet.rejected:
        why = REJECTED if kubelet.shutting_down else refusal(kubelet, pod)
        if why is None:
            return False
        kubelet.rejected[uid] = None
        reject(kubelet, pod, why)
    return True


async def _live(kubelet: Kubelet, worker: PodWorker) -> None:
    try:
        for sources in (kubelet.config_maps, kubelet.secrets):
            await sources.synced(worker.pod)
        await worker.run()
    finally:
        worker.done = True
        retry(kubelet)
        if worker.gone:
            kubelet.workers.pop(worker.pod.metadata.uid, None)


def _source_changed(
    kubelet: Kubelet,
    kind: str,
    old: ConfigMap | Secret | None,
    new: ConfigMap | Secret | None,
) -> None:
    about: Object | None = new or old
    assert about is not None, "a change has a before or an after"
    for worker in list(kubelet.workers.values()):
        if worker.pod.metadata.namespace == about.metadata.namespace:
            worker.source_changed(kind, about.metadata.name)
