"""What the node agents would program for an edited set of objects: their own cores, asked again.

The tracer applies the answer to a fork and walks there, so "nearest change" is tried with the very
code that compiles the live rules.
"""

from __future__ import annotations

from podwire.cni.calico import core as calico
from podwire.dataplane.commands import RulesRestore
from podwire.dataplane.verdict import Edit
from podwire.explain.objects import Objects, WhatIf
from podwire.kube_proxy import config as proxy_config
from podwire.kube_proxy.core import Proxier, Shared, settings_of
from podwire.kube_proxy.shell import facts
from podwire.sim.addons.kube_proxy import config_text
from podwire.sim.settings import ClusterSettings


def compiler(settings: ClusterSettings) -> WhatIf:
    """The what-if compiler of a cluster's CNI profile and proxy mode."""
    config = proxy_config.parse(config_text(settings).encode())

    def compile_objects(objects: Objects) -> list[Edit]:
        edits = _services(objects, config)
        if settings.cni == "calico":
            edits += _policies(objects)
        return edits

    return compile_objects


def _services(objects: Objects, config: proxy_config.Config) -> list[Edit]:
    """Each node's full kube-proxy sync."""
    shared = Shared()
    edits = []
    for node in objects.nodes:
        name = node.metadata.name
        proxier = Proxier(
            settings_of(config, (node.internal_ip,), node.spec.pod_cidr), facts(node, name), shared
        )
        for service in objects.services:
            proxier.service(None, service)
        for endpoint_slice in objects.slices:
            proxier.slice(None, endpoint_slice)
        plan = proxier.plan(full=True)
        if plan is not None:
            edits.append(Edit(node=name, command=RulesRestore(text=plan.text)))
    return edits


def _policies(objects: Objects) -> list[Edit]:
    """Each node's policy chains."""
    names = [node.metadata.name for node in objects.nodes]
    texts = [
        calico.full_text(name, objects.pods, objects.namespaces, objects.policies) for name in names
    ]
    return [
        Edit(node=name, command=RulesRestore(text=text))
        for name, text in zip(names, texts, strict=True)
    ]
