"""The plugins, one per file, and the one order in which they stand (CoreDNS's plugin.cfg).

The order of the Corefile does not matter, as in life.
"""

from __future__ import annotations

from podwire.coredns.chain import Plugin
from podwire.coredns.plugins.cache import Cache
from podwire.coredns.plugins.errors import Errors
from podwire.coredns.plugins.forward import Forward
from podwire.coredns.plugins.health import Health
from podwire.coredns.plugins.hosts import HostsFile
from podwire.coredns.plugins.kubernetes import Kubernetes
from podwire.coredns.plugins.loadbalance import Loadbalance
from podwire.coredns.plugins.log import Log
from podwire.coredns.plugins.loop import Loop
from podwire.coredns.plugins.prometheus import Prometheus
from podwire.coredns.plugins.ready import Ready
from podwire.coredns.plugins.reload import Reload
from podwire.coredns.plugins.rewrite import Rewrite
from podwire.coredns.plugins.template import Template
from podwire.coredns.plugins.whoami import Whoami

ORDER: tuple[type[Plugin], ...] = (
    Reload, Ready, Health, Prometheus, Errors, Log, Loadbalance, Rewrite, Cache, Template,
    HostsFile, Kubernetes, Loop, Forward, Whoami,
)  # fmt: skip
"""First to last."""

BY_NAME = {plugin.name: plugin for plugin in ORDER}

NOT_MODELLED = (
    "acl", "any", "auto", "autopath", "azure", "bind", "bufsize", "cancel", "chaos", "clouddns",
    "debug", "dns64", "dnssec", "dnstap", "erratic", "etcd", "file", "geoip", "grpc", "grpc_server",
    "header", "https", "import", "k8s_external", "local", "metadata", "minimal", "multisocket",
    "nomad", "nsid", "on", "pprof", "quic", "root", "route53", "secondary", "sign", "startup",
    "timeouts", "tls", "trace", "transfer", "tsig", "view",
)  # fmt: skip
"""Directives CoreDNS knows and podwire does not."""
