"""The model against Linux: same commands, same rules, same probes, same answers.

Needs root, iproute2, iptables and a kernel with VXLAN and br_netfilter; skipped elsewhere.
"""

import os
import shutil
import subprocess

import pytest

from podwire.dataplane import commands as c
from tests.system.mirror import PREFIX, Mirror
from tests.unit.dataplane.services import load, service

A1, B1, A2, B2 = [(f"10.244.{i}.{k}", 8080) for i in (1, 2) for k in (2, 3)]
WEB, ONE, EMPTY, SELF, DNS = (f"10.96.0.{n}" for n in (10, 11, 12, 13, 14))
PROBE_NETNS = f"{PREFIX}probe"


def able():
    """Whether this machine can play Linux."""
    if os.name != "posix" or os.geteuid() != 0:
        return False
    if not all(shutil.which(tool) for tool in ("ip", "bridge", "iptables-restore", "sysctl")):
        return False
    made = subprocess.run(["ip", "netns", "add", PROBE_NETNS], capture_output=True, check=False)
    if made.returncode:
        return False
    vxlan = ["link", "add", "v", "type", "vxlan", "id", "1", "dstport", "8472"]
    done = subprocess.run(["ip", "-n", PROBE_NETNS, *vxlan], capture_output=True, check=False)
    key = "net.bridge.bridge-nf-call-iptables"
    words = ["ip", "netns", "exec", PROBE_NETNS, "sysctl", "-n", key]
    nf = subprocess.run(words, capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", PROBE_NETNS], capture_output=True, check=False)
    return done.returncode == 0 and nf.returncode == 0


pytestmark = pytest.mark.skipif(not able(), reason="needs root and a kernel with VXLAN")


@pytest.fixture(scope="module")
def lab():
    """Two nodes, four pods, a client; five Services and one denied pod."""
    with Mirror(nodes=2, pods=2) as made:
        load(
            made,
            service("web", WEB, 80, [A1, B1, A2], node_port=30080),
            service("one", ONE, 80, [A2], node_port=30081, local=[A2]),
            service("empty", EMPTY, 80, [], node_port=30082),
            service("self", SELF, 80, [A1]),
            service("dns", DNS, 53, [("10.244.2.3", 53)], proto="udp"),
        )
        deny = (
            "*filter\n:cali-tw-b2 - [0:0]\n-I FORWARD -d 10.244.2.3 -p tcp -j cali-tw-b2\n"
            "-A cali-tw-b2 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n"
            "-A cali-tw-b2 -s 10.244.1.3 -j DROP\nCOMMIT\n"
        )
        for i in (1, 2):
            key = "net.bridge.bridge-nf-call-iptables"
            made.run(f"node-{i}", c.SysctlSet(key=key, value="1"))
            made.run(f"node-{i}", c.RulesRestore(text=deny))
            for letter in "ab":
                made.serve(i, letter)
        yield made


TARGETS = [
    ("tcp", WEB, 80),
    ("tcp", ONE, 80),
    ("tcp", EMPTY, 80),
    ("tcp", SELF, 80),
    ("udp", DNS, 53),
    ("tcp", "10.244.1.2", 8080),
    ("tcp", "10.244.2.2", 8080),
    ("tcp", "10.244.2.2", 81),
    ("udp", "10.244.2.2", 9),
    ("tcp", "10.244.2.3", 8080),
    ("tcp", "192.168.0.11", 30080),
    ("tcp", "192.168.0.12", 30080),
    ("tcp", "192.168.0.11", 30081),
    ("tcp", "192.168.0.12", 30081),
    ("tcp", "192.168.0.11", 30082),
    ("tcp", "192.168.0.12", 30099),
]
ORIGINS = [("node-1", "a1"), ("node-1", "b1"), ("node-2", "b2"), ("node-1", ""), ("node-2", "")]


@pytest.mark.parametrize(("node", "netns"), ORIGINS, ids=[f"{n}/{s}" for n, s in ORIGINS])
def test_pods_and_nodes_get_the_answers_that_the_kernel_gives(lab, node, netns):
    """Backend and seen source, or the same kind of failure."""
    lab.agree(node, netns, TARGETS)


def test_a_client_outside_gets_the_answers_that_the_kernel_gives(lab):
    """NodePorts with both traffic policies."""
    lab.agree("client", "", [probe for probe in TARGETS if probe[1].startswith("192.")])


def test_loopback_node_ports_and_unknown_cluster_ip_ports_agree(lab):
    """127.0.0.1:30080 by route_localnet; VIP:81 leaves the node and is unreachable."""
    lab.agree("node-1", "", [("tcp", "127.0.0.1", 30080), ("tcp", WEB, 81)])


def test_every_branch_of_the_model_is_seen_in_the_kernel(lab):
    """Sixty connections find all three backends, and no other."""
    real = lab.real("node-2", "b2", [("tcp", WEB, 80)] * 60)
    assert set(real) == lab.model("node-2", "b2", "tcp", WEB, 80)
