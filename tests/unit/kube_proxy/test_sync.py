"""Partial syncs, stale chains, conntrack, sharing between nodes."""

from __future__ import annotations

import msgspec
import pytest

from podwire.dataplane.commands import ConntrackDelete
from podwire.kube_proxy.config import Config, ConfigError, duration_s, parse
from podwire.kube_proxy.conntrack import Wanted, question, stale
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.iptables.settings import node_port_ips, settings_of
from podwire.kube_proxy.modes.iptables.text import JUMPS, jump_text
from tests.unit.kube_proxy.conftest import (
    NODE,
    NODE_IP,
    POD,
    SETTINGS,
    endpoints,
    feed,
    proxier,
    restore_text,
    service,
    six,
)
from tests.unit.kube_proxy.walker import Packet, Tables, service_flow


def synced(made: Proxier, tables: Tables, *, full: bool = False) -> Sync | None:
    plan = made.plan(full=full)
    if plan is not None:
        tables.restore(restore_text(plan))
        made.committed(plan)
    return plan


def test_a_partial_sync_carries_only_the_changed_service_and_ends_in_the_same_rules():
    """After any change: the kernel fed with partial inputs equals one fed with a full input."""
    made, kernel = proxier(*six()), Tables(local=(NODE_IP,))
    first = synced(made, kernel, full=True)
    assert first is not None
    old = made.slices["shop/door"]["door-x"]
    feed(made, endpoints("shop/door", "10.244.2.60", "10.244.1.60", ports=8443), old)
    second = synced(made, kernel)
    assert second is not None
    assert not second.full
    assert "shop/web:http -> " not in restore_text(second)
    assert "shop/door -> 10.244.2.60:8443" in restore_text(second)
    assert "10.96.0.41 --dport 80 -j KUBE-SVC" in restore_text(second), (
        "top-level chains are always whole"
    )
    assert second.changes < first.changes
    fresh = Tables(local=(NODE_IP,))
    full = made.plan(full=True)
    assert full is not None
    fresh.restore(restore_text(full))
    assert kernel.chains == fresh.chains


def test_chains_of_what_is_gone_are_deleted():
    """A removed endpoint takes its KUBE-SEP chain along, a removed Service all of its chains."""
    made, kernel = proxier(*six()), Tables(local=(NODE_IP,))
    synced(made, kernel, full=True)
    made.service(made.services["shop/cart"], None)
    plan = synced(made, kernel)
    assert plan is not None
    assert restore_text(plan).count("-X KUBE-") == 5, "SVC, EXT, FW and two SEP"
    assert service_flow(kernel, Packet(POD, "10.96.0.45")) == ("", False)


def test_the_first_sync_removes_chains_of_an_earlier_life():
    """Chains that the kernel has and nobody needs go; foreign chains stay."""
    made = proxier(service("web", "10.96.0.50"))
    chains = ["KUBE-SVC-OLD", "KUBE-SERVICES", "CNI-X", "KUBE-SEP-Y"]
    saved = "*nat\n" + "".join(f":{chain} - [0:0]\n" for chain in chains) + "COMMIT\n"
    plan = made.plan(full=True, existing={("iptables-save",): saved})
    assert plan is not None
    jumps, rules = plan.commands
    assert "-I PREROUTING" in jumps.text
    assert "-X KUBE-SVC-OLD\n-X KUBE-SEP-Y\n" in rules.text
    assert "CNI-X" not in rules.text


def test_what_changes_no_rule_plans_nothing():
    """An annotation, a not-ready endpoint of a headless Service: no transaction."""
    made = proxier(*six(), service("db", "None"))
    plan = made.plan(full=True)
    assert plan is not None
    made.committed(plan)
    feed(made, endpoints("db", "10.244.1.77"))
    assert made.plan(full=False) is None
    web = made.services["shop/web"]
    noted = msgspec.structs.replace(
        web, metadata=msgspec.structs.replace(web.metadata, annotations={"a": "b"})
    )
    assert made.service(web, noted) is False


def test_udp_flows_to_a_gone_endpoint_are_forgotten():
    """By service address and by NodePort; flows to serving endpoints, of TCP, and of Services
    that have no endpoint left stay.
    """
    ports = [("", 53, 30053, "UDP")]
    made = proxier(
        service("dns", "10.96.0.53", ports, type="NodePort"),
        endpoints("dns", "10.244.1.1", "10.244.1.2", ports=[("", 53, "UDP")]),
    )
    kernel = Tables()
    synced(made, kernel, full=True)
    old = made.slices["default/dns"]["dns-x"]
    one = endpoints("dns", "10.244.1.2", ports=[("", 53, "UDP")])
    feed(made, one, old)
    plan = synced(made, kernel)
    assert plan is not None

    def flow(dst: str, dport: int, reply: str) -> str:
        back = f"src={reply} dst=10.244.1.9 sport=53 dport=4444"
        return (
            f"udp      17 29 src=10.244.1.9 dst={dst} sport=4444 dport={dport} {back} mark=0 use=1"
        )

    listing = "\n".join((
        flow("10.96.0.53", 53, "10.244.1.1"),
        flow("10.96.0.53", 53, "10.244.1.2"),
        flow("10.96.0.53", 53, "10.96.0.53"),
        flow(NODE_IP, 30053, "10.244.1.1"),
        flow("10.96.0.99", 53, "10.244.1.1"),
    ))  # fmt: skip

    def gone(dst: str, port: int, reply: str) -> ConntrackDelete:
        return ConntrackDelete(
            proto="udp", orig_dst=dst, orig_dport=port, reply_src=reply, reply_sport=53
        )

    assert stale(listing, plan.udp or Wanted()) == (
        gone("10.96.0.53", 53, "10.244.1.1"),
        gone("10.96.0.53", 53, "10.96.0.53"),
        gone(NODE_IP, 30053, "10.244.1.1"),
    )
    none = endpoints("dns", ports=[("", 53, "UDP")])
    feed(made, none, one)
    plan = synced(made, kernel)
    assert plan is not None
    assert plan.udp is None
    assert question("ipv4") == ("conntrack", "-L", "-p", "udp")


def test_equal_inputs_share_one_text_between_nodes():
    """Two nodes without local endpoints get the identical string; a local policy splits them."""

    def versioned(item):
        meta = msgspec.structs.replace(item.metadata, resource_version="7")
        return msgspec.structs.replace(item, metadata=meta)

    def texts(*objects) -> list[str]:
        shared = Shared()
        out = []
        for name in ("node-1", "node-2"):
            made = Proxier(MODES["iptables"], SETTINGS, NodeFacts(name, "", ()), shared)
            for item in objects:
                feed(made, versioned(item))
            plan = made.plan(full=True)
            assert plan is not None
            out.append(restore_text(plan))
        return out

    web = (service("web", "10.96.0.50"), endpoints("web", f"10.244.1.4@{NODE}"))
    one, two = texts(*web)
    assert one is two
    local = service("web", "10.96.0.50", internalTrafficPolicy="Local")
    one, two = texts(local, web[1])
    assert one != two


def test_jumps_are_inserted_once_in_upstreams_order():
    """The last jump of the list comes first in its chain; a second look finds nothing to do."""
    kernel = Tables()
    kernel.restore(jump_text({}))
    forward = [rule[-1] for rule in kernel.chains["filter"]["FORWARD"]]
    assert forward == [
        "KUBE-PROXY-FIREWALL", "KUBE-FORWARD", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES",
    ]  # fmt: skip
    saved = {
        table: [
            *(f":{chain} - [0:0]" for chain in chains),
            *(f"-A {chain} {' '.join(rule)}" for chain, rules in chains.items() for rule in rules),
        ]
        for table, chains in kernel.chains.items()
    }
    assert jump_text(saved) == ""
    assert len(JUMPS) == sum(
        len(rules) for chains in kernel.chains.values() for rules in chains.values()
    )


def test_the_configuration_of_kubeadm_means_the_defaults():
    """Nulls and 0s are absent; modes and durations are read, nonsense is refused."""
    config = parse(
        b"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        b"clusterCIDR: 10.244.0.0/16\nmode: ''\niptables:\n  masqueradeBit: null\n"
        b"  minSyncPeriod: 0s\n  syncPeriod: 1m30s\nmetricsBindAddress: ''\n"
    )
    assert (config.mode, config.mode_given, config.rules.mark) == ("iptables", False, "0x4000")
    assert (config.rules.min_sync_period_s, config.rules.sync_period_s) == (1.0, 90.0)
    assert (config.metrics_address, config.metrics_port) == ("127.0.0.1", 10249)
    with pytest.raises(ConfigError):
        duration_s("soon", 1.0)
    with pytest.raises(ConfigError):
        parse(b"kind: Deployment")


def test_settings_follow_local_detection_and_node_port_addresses():
    """ClusterCIDR, NodeCIDR, an interface; primary, localhost and CIDR words for NodePorts."""
    node = NodeFacts(NODE, "", (NODE_IP, "fd00::11"), ("10.244.1.0/24", "fd00:244:1::/64"))
    own = ("127.0.0.1", "::1", NODE_IP, "10.244.1.1", "fd00::11")
    both = "10.244.0.0/16,fd00:244::/48"
    config = Config(cluster_cidr=both, node_port_addresses=("primary",))
    settings = settings_of(config, node, "ipv4")
    assert (settings.local, node_port_ips(settings, own)) == ("-s 10.244.0.0/16", (NODE_IP,))
    settings = settings_of(config, node, "ipv6")
    assert (settings.local, node_port_ips(settings, own)) == ("-s fd00:244::/48", ("fd00::11",))
    words = ("192.168.0.0/24", "localhost")
    config = Config(detect_local_mode="NodeCIDR", node_port_addresses=words)
    settings = settings_of(config, node, "ipv4")
    assert settings.local == "-s 10.244.1.0/24"
    assert node_port_ips(settings, own) == ("127.0.0.1", NODE_IP)
    assert node_port_ips(settings_of(config, node, "ipv6"), own) == (), "never on ::1"
    config = Config(detect_local_mode="InterfaceNamePrefix", interface_prefix="veth")
    assert settings_of(config, node, "ipv4").not_local == "! -i veth+"
    with pytest.raises(ConfigError, match="unknown detect-local-mode"):
        settings_of(Config(detect_local_mode="Guess"), node, "ipv4")
