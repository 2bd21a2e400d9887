"""What differed from Linux once (tests/oracle), in small."""

from podwire.dataplane import commands as c
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.lab import Lab
from tests.unit.dataplane.services import load, service

VIP, POD = "10.96.0.10", "10.244.1.2"
NFT = f"""table ip t {{
\tchain out {{
\t\ttype nat hook output priority -100 ; policy accept ;
\t\tip daddr {VIP} tcp dport 80 dnat to {POD}:8080
\t}}
\tchain post {{
\t\ttype nat hook postrouting priority 100 ; policy accept ;
\t\tip daddr {POD} masquerade
\t}}
}}
"""


def walked(lab, node, netns, protocol, port=80):
    request = WalkRequest(node=node, netns=netns, protocol=protocol, dst=VIP, dst_port=port)
    return lab.world.walk(request, SeededRng(1), lab.now).drawn


def test_nat_of_output_is_undone_at_input_though_no_chain_is_there():
    """One nat chain of nft makes all four hooks translate back: the answer comes from the VIP."""
    lab = Lab()
    lab.run("node-1", c.NftApply(text=NFT))
    lab.listen("node-1", "a1", 8080)
    assert walked(lab, "node-1", "", "tcp").fate is Fate.DELIVERED


def test_a_refusal_that_missed_its_un_nat_is_not_heard():
    """Without bridge-nf-call-iptables a same-node endpoint's ICMP error names an address that the
    client never asked; with it, the client is refused.
    """
    fates = []
    for value in "01":
        lab = Lab()
        load(lab, service("dns", VIP, 80, [("10.244.1.3", 9999)], proto="udp"))
        lab.run("node-1", c.SysctlSet(key="net.bridge.bridge-nf-call-iptables", value=value))
        fates.append(walked(lab, "node-1", "a1", "udp").fate)
    assert [fate is Fate.REFUSED for fate in fates] == [False, True]
