"""Compiled chains equal the plain interpreter: verdicts, counters, draws, marks, accounts."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.dataplane.commands import IpsetRestore
from podwire.dataplane.conntrack import Entry, invert, tuple_of
from podwire.dataplane.cost import Meter
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.netfilter import compile as program
from podwire.dataplane.netfilter import interpret, show
from podwire.dataplane.netfilter.env import Env, RngChance
from podwire.dataplane.netfilter.restore import restore
from podwire.dataplane.packet import Packet
from podwire.dataplane.skb import Skb
from podwire.runtime.rng import SeededRng
from tests.rotation import examples

ADDRESSES = [f"10.{a}.0.{b}" for a in (0, 1) for b in range(1, 5)]
NETWORKS = [*ADDRESSES, "10.0.0.0/16", "10.1.0.0/24", "0.0.0.0/0", "10.0.0.0/30"]
PORTS = [53, 80, 443, 8080]
CHAINS = ["A", "B", "C", "D"]
DEVICES = ["eth0", "eth1", "cni0", "vethx"]
STATES = ["NEW", "ESTABLISHED", "RELATED", "INVALID"]

bang = st.sampled_from(["", "! "])


def option(name, values):
    return st.one_of(
        st.just(""), st.builds(lambda no, v: f"{no}{name} {v} ", bang, st.sampled_from(values))
    )


header = st.builds(
    lambda *parts: "".join(parts),
    option("-s", NETWORKS),
    option("-d", NETWORKS),
    option("-i", [*DEVICES, "eth+", "+"]),
    option("-o", DEVICES),
)
ports = st.builds(
    lambda proto, tests: f"-p {proto} -m {proto} {tests}",
    st.sampled_from(["tcp", "udp"]),
    st.builds(
        lambda a, b: a + b,
        option("--dport", [*PORTS, "80:443"]),
        option("--sport", [1000, "1:2000"]),
    ),
)
extras = st.sampled_from(
    [
        "",
        "",
        "",
        "-m statistic --mode random --probability 0.5 ",
        "-m statistic --mode nth --every 3 --packet 1 ",
        "-m recent --set --name R ",
        "-m recent --rcheck --seconds 2 --reap --name R ",
        "-m recent ! --update --seconds 3 --hitcount 2 --name R ",
        "-m mark --mark 0x1/0x1 ",
        "-m mark ! --mark 0x4000/0x4000 ",
        "-m conntrack --ctstate NEW ",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED ",
        "-m conntrack --ctstate DNAT ",
        "-m addrtype --dst-type LOCAL ",
        "-m addrtype ! --src-type LOCAL ",
        "-m multiport -p tcp --dports 80,8000:9000 ",
        "-m physdev --physdev-in vethx ",
        "-m bpf --bytecode x ",
        "-m set --match-set S src ",
        "-m set ! --match-set L dst,dst ",
        '-m comment --comment "some words" ',
    ]
)
targets = st.sampled_from(
    [
        "-j ACCEPT",
        "-j DROP",
        "-j RETURN",
        "-j MARK --or-mark 0x1",
        "-j MARK --xor-mark 0x4000",
        "-j CONNMARK --save-mark",
        "-j REJECT",
        "-j LOG",
        "",
        "-j TRACE",
        "-j SET --add-set S src --exist",
    ]
)


@st.composite
def rule(draw, chain):
    """A rule of a chain; jumps lead only to later chains, so there are no loops."""
    if draw(st.booleans()):
        exact = f"-d {draw(st.sampled_from(ADDRESSES))} " if draw(st.booleans()) else ""
        proto, port = draw(st.sampled_from(["tcp", "udp"])), draw(st.sampled_from(PORTS))
        return f"{exact}-p {proto} -m {proto} --dport {port} {draw(targets)}".strip()
    later = CHAINS[CHAINS.index(chain) + 1 :] if chain in CHAINS else CHAINS
    jump = st.sampled_from([f"{verb} {c}" for c in later for verb in ("-j", "-j", "-g")] or [""])
    before, after = draw(extras), draw(extras)
    middle = draw(st.one_of(st.just(""), ports)) if "-p " not in before + after else ""
    if before.startswith("-m multiport") and after.startswith("-m multiport"):
        after = ""
    return f"{draw(header)}{before}{middle}{after}{draw(st.one_of(targets, jump))}".strip()


@st.composite
def rulesets(draw):
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in CHAINS)]
    lines += [f":FORWARD {draw(st.sampled_from(['ACCEPT', 'DROP']))} [0:0]"]
    for chain in ("FORWARD", *CHAINS):
        for _ in range(draw(st.integers(0, 14))):
            lines.append(f"-A {chain} {draw(rule(chain))}".strip())
    return "\n".join([*lines, "COMMIT", ""])


packets = st.builds(
    Packet,
    src=st.sampled_from(ADDRESSES),
    dst=st.sampled_from(ADDRESSES),
    protocol=st.sampled_from(["tcp", "udp", "icmp"]),
    src_port=st.sampled_from([1000, 3000]),
    dst_port=st.sampled_from(PORTS),
    mark=st.sampled_from([0, 1, 0x4000]),
    tcp_flags=st.just(2),
    icmp_type=st.just(8),
)


@st.composite
def skbs(draw):
    packet = draw(packets)
    devices = draw(st.sampled_from(DEVICES)), draw(st.sampled_from(DEVICES))
    return packet, devices, draw(st.sampled_from(STATES)), draw(st.booleans())


SETS = """create S hash:ip counters
create P hash:ip,port
create L list:set
add S 10.0.0.2
add P 10.1.0.1,tcp:80
add L S
add L P
"""


def namespace():
    """One with the sets that rules may name."""
    kernel = Kernel("node-1", SeededRng(1))
    kernel.execute(IpsetRestore(text=SETS), 0)
    return kernel.netns("")


def run_all(walk, text, traffic):
    """Every packet's outcome and the state that is left."""
    ns = namespace()
    ns.local["10.0.0.1"] = "eth0"
    restore(ns.netfilter, text, noflush=True)
    chance = RngChance(SeededRng(3))
    outcomes = []
    for i, (packet, (dev_in, dev_out), state, dnat) in enumerate(traffic):
        skb = Skb(packet, dev_in, dev_out)
        skb.phys_in = dev_in
        skb.ct_state = state
        if state != "INVALID":
            key = tuple_of(packet)
            skb.ct = Entry(id=i, orig=key, reply=invert(key), dnat=dnat)
        meter = Meter()
        env = Env(ns, i * 10**9, chance, "filter", meter=meter)
        verdict = walk(ns.netfilter, "filter", "FORWARD", skb, env, None)
        text_of = verdict.rule.text if verdict.rule is not None else ""
        mark = skb.ct.mark if skb.ct is not None else 0
        outcomes.append((verdict.kind, text_of, verdict.chain, skb.packet.mark, mark, meter.take()))
    return outcomes, ns.netfilter.facts()


FEW = settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@FEW
@given(rulesets(), st.lists(skbs(), min_size=1, max_size=12))
def test_compiled_chains_decide_as_the_plain_interpreter(text, traffic):
    """Whatever the rules, whatever the packets: same verdicts, same counters, same lists, and the
    rules and lookups that a kernel would have gone through, though an index left most out.
    """
    assert run_all(program.walk, text, traffic) == run_all(interpret.walk, text, traffic)


@FEW
@given(rulesets())
def test_saved_rules_are_a_fixed_point(text):
    """Printing what was parsed from a print changes nothing."""
    first, second = namespace(), namespace()
    restore(first.netfilter, text, noflush=True)
    saved = show.save(first.netfilter)
    restore(second.netfilter, saved, noflush=False)
    assert show.save(second.netfilter) == saved
