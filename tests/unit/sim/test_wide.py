"""Clusters of more nodes than a /24 has addresses: wider ranges; small ones stay as they were."""

from ipaddress import ip_address, ip_network

import pytest

from podwire.api.views import Condition, Node, NodeStatus, ObjectMeta, Pod
from podwire.controllers.nodeipam.core import allocate
from podwire.fabric.hardware import Fabric
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.sim import outside
from podwire.sim.addons import kube_proxy
from podwire.sim.readiness import obstacle
from podwire.sim.settings import MAX_NODES, ROOMY, ClusterSettings, node_address


def test_every_node_has_an_address_on_one_network_and_a_subnet_of_the_pod_range():
    """A thousand nodes fit; up to ROOMY the ranges are those that they always were."""
    wide, small = ClusterSettings(nodes=MAX_NODES), ClusterSettings(nodes=ROOMY)
    addresses = [node_address(i) for i in range(1, MAX_NODES + 1)]
    assert len(dict.fromkeys(addresses)) == MAX_NODES
    network = ip_network(f"192.168.0.0/{wide.node_prefix_length}")
    assert all(ip_address(address) in network for address in addresses)
    assert ip_network(wide.pod_cidr).num_addresses // 256 >= MAX_NODES
    assert ip_network(wide.pod_cidr6).num_addresses >> 64 >= MAX_NODES
    assert (small.pod_cidr, small.node_prefix_length) == ("10.244.0.0/16", 24)
    assert small.pod_cidr6 == "fd00:10:244::/56"


def test_the_last_node_reaches_the_first_without_a_router():
    """The hosts' network is as wide as their addresses ask; the gateway is on it, too."""
    settings = ClusterSettings(nodes=ROOMY + 100)

    async def main(env: Env) -> None:
        fabric = Fabric(
            env.clock, env.rng, env.ids, env.trace, env.log,
            prefix_length=settings.node_prefix_length,
        )  # fmt: skip
        outside.add_machines(fabric, settings)
        last = fabric.hosts[settings.node_names[-1]].kernel
        for to in (node_address(1), "192.168.0.1"):
            found = last.netns("").fib.lookup(to)
            assert found is not None
            assert (found.dev, found.via) == ("eth0", "")

    sim.run(main)


@pytest.mark.parametrize(("nodes", "shown"), [(ROOMY, "10ms"), (ROOMY + 1, "0s")])
def test_kube_proxies_of_many_nodes_sync_once_a_second(nodes, shown):
    """kube-proxy's own default, which "0s" asks for."""
    settings = ClusterSettings(nodes=nodes, time_profile="fast")
    assert f"minSyncPeriod: {shown}" in kube_proxy.config_text(settings)


def test_the_subnets_of_a_large_cluster_are_given_out_in_order():
    """The lowest free one, also beyond the first 256."""
    used = {f"10.{244 + i // 256}.{i % 256}.0/24" for i in range(300)}
    assert allocate("10.244.0.0/14", 24, 64, used) == ("10.245.44.0/24",)
    assert allocate("10.244.0.0/14", 24, 64, used - {"10.244.7.0/24"}) == ("10.244.7.0/24",)


def test_who_waits_for_a_cluster_waits_for_the_first_that_is_not_ready():
    """Nodes before pods; None when all are."""

    def node(name: str, ready: str) -> Node:
        status = NodeStatus(conditions=[Condition(type="Ready", status=ready)])
        return Node(metadata=ObjectMeta(name=name), status=status)

    pod = Pod(metadata=ObjectMeta(name="p", namespace="kube-system"))
    late = obstacle([node("a", "True"), node("b", "False")], [pod])
    assert late is not None
    assert late.key == "b"
    assert obstacle([node("a", "True")], [pod]) is pod
    assert obstacle([node("a", "True")], []) is None
