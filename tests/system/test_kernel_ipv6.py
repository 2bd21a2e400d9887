"""The model's IPv6 against Linux: same commands, ip6tables rules and probes, same answers."""

import subprocess

import pytest

from podwire.dataplane import commands as c
from tests.system.mirror import PREFIX, Mirror, sh
from tests.system.test_kernel import ORIGINS, able
from tests.unit.dataplane.services import load6, service

pytestmark = pytest.mark.skipif(not able(), reason="needs root and a kernel with VXLAN")

A1, B1, A2, B2 = [(f"fd00:244:{i}::{k}", 8080) for i in (1, 2) for k in (2, 3)]
WEB, ONE, EMPTY, SELF, DNS = (f"fd00:96::{n}" for n in (10, 11, 12, 13, 14))


@pytest.fixture(scope="module")
def lab():
    """Two nodes with both families, four pods, a client; five Services and one denied pod."""
    with Mirror(nodes=2, pods=2, dual=True) as made:
        load6(
            made,
            service("web", WEB, 80, [A1, B1, A2], node_port=30080),
            service("one", ONE, 80, [A2], node_port=30081, local=[A2]),
            service("empty", EMPTY, 80, [], node_port=30082),
            service("self", SELF, 80, [A1]),
            service("dns", DNS, 53, [("fd00:244:2::3", 53)], proto="udp"),
        )
        deny = (
            "*filter\n:cali-tw-b2 - [0:0]\n-I FORWARD -d fd00:244:2::3 -p tcp -j cali-tw-b2\n"
            "-A cali-tw-b2 -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n"
            "-A cali-tw-b2 -s fd00:244:1::3 -j DROP\nCOMMIT\n"
        )
        for i in (1, 2):
            key = "net.bridge.bridge-nf-call-ip6tables"
            made.run(f"node-{i}", c.SysctlSet(key=key, value="1"))
            made.run(f"node-{i}", c.RulesRestore(text=deny, family="ipv6"))
            made.run(f"node-{i}", c.RouteReplace(dst="fd00:98::/64", type="unreachable"))
            made.run(f"node-{i}", c.RouteReplace(dst="fd00:97::/64", type="prohibit"))
            for letter in "ab":
                made.serve(i, letter)
        yield made


TARGETS = [
    ("tcp", WEB, 80),
    ("tcp", ONE, 80),
    ("tcp", EMPTY, 80),
    ("tcp", SELF, 80),
    ("udp", DNS, 53),
    ("tcp", "fd00:244:1::2", 8080),
    ("tcp", "fd00:244:2::2", 8080),
    ("tcp", "fd00:244:2::2", 81),
    ("udp", "fd00:244:2::2", 9),
    ("tcp", "fd00:244:2::3", 8080),
    ("tcp", "fd00:a8::11", 30080),
    ("tcp", "fd00:a8::12", 30080),
    ("tcp", "fd00:a8::11", 30081),
    ("tcp", "fd00:a8::12", 30081),
    ("tcp", "fd00:a8::11", 30082),
    ("tcp", "fd00:a8::12", 30099),
    ("tcp", "fd00:244:1::1", 30080),
    ("tcp", "10.244.2.2", 8080),
]


@pytest.mark.parametrize(("node", "netns"), ORIGINS, ids=[f"{n}/{s}" for n, s in ORIGINS])
def test_pods_and_nodes_get_the_answers_that_the_kernel_gives(lab, node, netns):
    """Backend and seen source, or the same kind of failure."""
    lab.agree(node, netns, TARGETS)


def test_a_client_outside_gets_the_answers_that_the_kernel_gives(lab):
    """NodePorts with both traffic policies."""
    lab.agree("client", "", [probe for probe in TARGETS if probe[1].startswith("fd00:a8")])


SAME = [
    ("node-1", ["ip", "-6", "route"]),
    ("node-1", ["ip", "-6", "addr", "show", "dev", "eth0"]),
    ("node-1", ["ip", "-6", "-o", "addr", "show", "dev", "cni0"]),
    ("a1", ["ip", "-6", "route"]),
    ("node-1", ["ip", "-6", "rule"]),
    ("node-1", ["ip", "-d", "link", "show", "dev", "flannel-v6.1"]),
    ("node-1", ["ip", "-6", "route", "get", "fd00:244:2::2"]),
    ("node-1", ["ip", "-6", "route", "get", "fd00:244:1::2"]),
    ("node-1", ["ip", "-6", "route", "get", "fd00:a8::11"]),
    ("node-1", ["ip", "-6", "route", "get", "fd00:98::1"]),
    ("node-1", ["ip", "-6", "route", "get", "fd00:97::1"]),
    ("a1", ["ip", "-6", "route", "get", "2001:db8::1"]),
    ("node-1", ["ip6tables-save", "-t", "nat"]),
    ("node-1", ["ip6tables", "-t", "nat", "-n", "-L"]),
    ("node-1", ["ip6tables", "-n", "-L", "FORWARD"]),
    ("node-1", ["ip6tables", "-S", "cali-tw-b2"]),
]


def _settled(text):
    """Without what differs by nature: names of links' namespaces, random MACs, dates, counters."""
    lines = []
    for line in text.splitlines():
        kept = line.split(" link-netns")[0]
        if kept.startswith((":", "#")):
            kept = kept.split(" [")[0].split(" on ")[0]
        if "qlen" in kept and "eth0" in kept:
            continue  # a card in the model, a veth in the kernel
        if kept.startswith("fe80") or "scope link" in kept or "link/ether" in kept:
            continue
        lines.append(kept)
    return lines


@pytest.mark.parametrize(("home", "argv"), SAME, ids=[" ".join(a) for _, a in SAME])
def test_tools_print_what_the_real_ones_print(lab, home, argv):
    """Routes, addresses, rules, devices and chains, to the letter."""
    netns = "" if home == "node-1" else home
    out, err, code = lab.world.kernels["node-1"].tool(netns, argv, "", lab.now)
    if code:
        words = ["ip", "netns", "exec", PREFIX + home, *argv]
        real = subprocess.run(words, text=True, capture_output=True, check=False)
        assert (code, err) == (real.returncode, real.stderr)
        return
    real = sh("ip", "netns", "exec", PREFIX + home, *argv)
    assert sorted(_settled(out)) == sorted(_settled(real))
