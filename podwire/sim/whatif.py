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
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import node_facts
from podwire.kube_proxy.modes import MODES
from podwire.sim.addons.kube_proxy import config_text
from podwire.sim.settings import ClusterSettings


def compiler(settings: ClusterSettings) -> WhatIf:
    """The what-if compiler of a cluster's CNI profile and proxy mode."""
    config = proxy_config.parse(config_text(settings).encode())

    def compile_objects(objects: Objects) -> list[Edit]:
        edits = _services(objects, config)
        if settings.cni == "calico":
            edits += _policies(objects, ipvs=config.mode == "ipvs")
        return edits

    return compile_objects


def _services(objects: Objects, config: proxy_config.Config) -> list[Edit]:
    """Each node's full kube-proxy sync."""
    shared, mode = Shared(), MODES[config.mode]
    edits: list[Edit] = []
    for node in objects.nodes:
        facts = node_facts(node, node.metadata.name)
        for family in facts.families:
            settings = mode.settings(config, facts, family)
            proxier = Proxier(mode, settings, facts, shared, family)
            for service in objects.services:
                proxier.service(None, service)
            for endpoint_slice in objects.slices:
                proxier.slice(None, endpoint_slice)
            plan = proxier.plan(full=True)
            commands = plan.commands if plan is not None else ()
            edits.extend(Edit(node=facts.name, command=command) for command in commands)
    return edits


def _policies(objects: Objects, *, ipvs: bool) -> list[Edit]:
    """Each node's policy chains."""
    edits: list[Edit] = []
    for node in objects.nodes:
        facts = node_facts(node, node.metadata.name)
        for family in facts.families:
            text = calico.full_text(
                facts.name, objects.pods, objects.namespaces, objects.policies,
                int(family[-1]), ipvs=ipvs,
            )  # fmt: skip
            command = RulesRestore(text=text, family=family)
            edits.append(Edit(node=facts.name, command=command))
    return edits
