"""The nftables mode writes what upstream's proxier writes, and a kernel that loads it agrees."""

from pathlib import Path

from podwire.dataplane.kernel import Kernel
from podwire.dataplane.nft.show import listing
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.nftables.settings import Settings
from podwire.runtime.rng import SeededRng
from tests.unit.kube_proxy.conftest import endpoints, feed, service

NODE, NODE_IP = "node-1", "192.168.0.2"
OVERALL = (Path(__file__).parents[2] / "data" / "nftables" / "overall.nft").read_text()
SETTINGS = Settings(
    local="ip saddr 10.0.0.0/8", not_local="ip saddr != 10.0.0.0/8",
    node_port_cidrs=(f"{NODE_IP}/32",),
)  # fmt: skip
ADDRESSES = {("ip", "addr", "show"): f"    inet {NODE_IP}/24 scope global eth0\n"}
SECOND = 1_000_000_000
P80 = [("p80", 80, "TCP")]


def port(node_port=0):
    return [("p80", 80, node_port, "TCP")]


def proxier(*objects, shared=None, name=NODE, ip=NODE_IP):
    settings = Settings(
        local=SETTINGS.local, not_local=SETTINGS.not_local, node_port_cidrs=(f"{ip}/32",),
    )  # fmt: skip
    made = Proxier(
        MODES["nftables"], settings, NodeFacts(name, "", (ip,)), shared or Shared(),
        service_cidrs=("172.30.0.0/16",),
    )  # fmt: skip
    for item in objects:
        feed(made, item)
    return made


def kernel():
    return Kernel(NODE, SeededRng(1))


def sync(made, node, *, full=False, now=0):
    """Plan, ask and program, as the shell does."""
    questions = made.mode.questions(made, full=full)
    existing = {q: node.tool("", list(q), "", now)[0] for q in questions}
    plan = made.plan(full=full, existing={**existing, **ADDRESSES}, now_ns=now)
    if plan is not None:
        for command in plan.commands:
            node.execute(command, now)
        made.committed(plan)
    return plan


def six():
    return [
        service("ns1/svc1", "172.30.0.41", port()),
        endpoints("ns1/svc1", "10.180.0.1@", ports=P80),
        service(
            "ns2/svc2", "172.30.0.42", port(3001), type="LoadBalancer",
            externalTrafficPolicy="Local", externalIPs=["192.168.99.22"], lb=["1.2.3.4"],
            healthCheckNodePort=30000,
        ),
        endpoints("ns2/svc2", "10.180.0.2@", ports=P80),
        service("ns3/svc3", "172.30.0.43", port(3003), type="NodePort"),
        endpoints("ns3/svc3", "10.180.0.3@", ports=P80),
        service("ns4/svc4", "172.30.0.44", port(), type="NodePort", externalIPs=["192.168.99.33"]),
        endpoints("ns4/svc4", "10.180.0.4@", f"10.180.0.5@{NODE}", ports=P80),
        service(
            "ns5/svc5", "172.30.0.45", port(3002), type="LoadBalancer", lb=["5.6.7.8"],
            externalTrafficPolicy="Cluster", loadBalancerSourceRanges=[" 203.0.113.0/25"],
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}},
        ),
        endpoints("ns5/svc5", "10.180.0.3@", ports=P80),
        service("ns6/svc6", "172.30.0.46", port()),
    ]  # fmt: skip


def added(text):
    """The lines that add something, each once."""
    return sorted(
        {line for line in text.splitlines() if line.startswith("add ") and "{}" not in line}
    )


def test_all_rules_are_upstreams_word_for_word():
    """Chains, sets, maps, rules and elements of TestOverallNFTablesRules."""
    plan = proxier(*six()).plan(full=True, existing=ADDRESSES)
    (command,) = plan.commands
    # base chains are made bare and deleted first, so that their priorities may change
    bare = {f"add chain ip kube-proxy {c}" for c in (
        "filter-prerouting-pre-dnat", "filter-output-pre-dnat", "filter-input", "filter-forward",
        "filter-output", "nat-prerouting", "nat-output", "nat-postrouting",
    )}  # fmt: skip
    assert [line for line in added(command.text + command.own) if line not in bare] == added(
        OVERALL
    )


def loadable(text):
    """Upstream's dump in an order that a kernel takes: what is referred to comes first."""
    order = ("add table", "add set", "add map", "add chain", "add rule", "add element")
    lines = [line for line in text.splitlines() if line.startswith("add ")]
    return "\n".join(line for head in order for line in lines if line.startswith(head))


def parts(node):
    """The chains, sets and maps that a kernel lists, sorted."""
    text = listing(node.netns("").nft, 0).split("{\n", 1)[1].removesuffix("}\n")
    return sorted(part.strip() for part in text.split("\n\n"))


def test_a_kernel_holds_the_same_whichever_text_it_loads():
    ours, theirs = kernel(), kernel()
    sync(proxier(*six()), ours, full=True)
    theirs.netns("").nft.apply(loadable(OVERALL), 0)
    assert parts(ours) == parts(theirs)


def test_a_second_full_sync_changes_nothing():
    """Nothing is made twice, no chain or set is left over."""
    node, made = kernel(), proxier(*six())
    sync(made, node, full=True)
    before = parts(node)
    sync(made, node, full=True, now=5 * SECOND)
    assert parts(node) == before


def test_a_partial_sync_touches_one_service():
    node, made = kernel(), proxier(*six())
    sync(made, node, full=True)
    feed(made, endpoints("ns1/svc1", "10.180.0.1@", "10.180.0.9@", ports=P80),
         endpoints("ns1/svc1", "10.180.0.1@", ports=P80))  # fmt: skip
    plan = sync(made, node)
    (command,) = plan.commands
    assert not plan.full
    assert all("/svc1/" in line for line in (command.text + command.own).splitlines())
    assert parts(node) == parts(fresh(made))


def fresh(made):
    """A kernel programmed from nothing with what a proxier knows."""
    node = kernel()
    again = proxier(*made.services.values(),
                    *(s for own in made.slices.values() for s in own.values()))  # fmt: skip
    sync(again, node, full=True)
    return node


def test_chains_of_a_lost_service_are_flushed_at_once_and_deleted_later():
    """Map elements and affinity sets go at once, chains a second later by the next sync."""
    node, made = kernel(), proxier(*six())
    sync(made, node, full=True)
    table = ("ip", "kube-proxy")
    lost = made.services["ns5/svc5"]
    made.service(lost, None)
    sync(made, node, now=SECOND)
    held = node.netns("").nft.ruleset.tables[table]
    chains = [name for name in held.chains if "svc5" in name]
    assert len(chains) == 4
    assert not any(held.chains[name].rules for name in chains)
    assert not any("svc5" in name for name in held.specs)
    feed(made, service("ns1/new", "172.30.0.60"))
    sync(made, node, now=SECOND + SECOND // 2)
    assert "svc5" in str(list(node.netns("").nft.ruleset.tables[table].chains))
    feed(made, service("ns1/newer", "172.30.0.61"))
    sync(made, node, now=3 * SECOND)
    assert "svc5" not in str(list(node.netns("").nft.ruleset.tables[table].chains))
    assert parts(node) == parts(fresh(made))


def test_a_service_that_returns_keeps_its_chains():
    node, made = kernel(), proxier(*six())
    sync(made, node, full=True)
    lost = made.services["ns1/svc1"]
    made.service(lost, None)
    sync(made, node, now=SECOND)
    made.service(None, lost)
    sync(made, node, now=5 * SECOND)
    assert parts(node) == parts(fresh(made))


def test_a_service_that_became_this_nodes_own_and_went_is_deleted_once():
    """Its rules were every node's, then this node's alone. Deleting again what is gone, when its
    EndpointSlice goes after it, would have nft refuse the whole transaction.
    """
    before, ends = service("ns1/svc1", "172.30.0.41", port(3001), type="NodePort"), endpoints(
        "ns1/svc1", "10.180.0.1@", ports=P80)  # fmt: skip
    after = service(
        "ns1/svc1", "172.30.0.41", port(3001), type="NodePort", externalTrafficPolicy="Local"
    )
    node, made = kernel(), proxier(before, ends)
    sync(made, node, full=True)
    feed(made, after, before)
    sync(made, node, now=SECOND)
    made.service(after, None)
    sync(made, node, now=2 * SECOND)
    made.slice(ends, None)
    sync(made, node, now=4 * SECOND)
    feed(made, service("ns1/new", "172.30.0.60"))
    sync(made, node, now=6 * SECOND)
    assert parts(node) == parts(fresh(made))
    feed(made, before)
    feed(made, ends)
    sync(made, node, now=8 * SECOND)
    assert parts(node) == parts(fresh(made))


def test_nodes_share_the_rules_that_do_not_depend_on_them():
    """Two nodes hold the same map of Services as one object; NodePort addresses are their own."""
    shared = Shared()
    plain = [item for item in six() if item.metadata.name.removesuffix("-x") in {"svc1", "svc3"}]
    rulesets = []
    for name, ip in (("node-1", "192.168.0.2"), ("node-2", "192.168.0.3")):
        node = kernel()
        made = proxier(*plain, shared=shared, name=name, ip=ip)
        questions = made.mode.questions(made, full=True)
        existing = {q: node.tool("", list(q), "", 0)[0] for q in questions}
        existing["ip", "addr", "show"] = f"    inet {ip}/24 scope global eth0\n"
        plan = made.plan(full=True, existing=existing)
        for command in plan.commands:
            node.execute(command, 0)
        rulesets.append(node.netns("").nft.ruleset.tables["ip", "kube-proxy"])
    one, two = rulesets
    assert one.members["nodeport-ips"] is not two.members["nodeport-ips"]
    assert one.members["service-ips"] is two.members["service-ips"]
    assert one.chains is two.chains


def test_leftovers_are_the_table():
    node = kernel()
    mode = MODES["nftables"]
    assert mode.leftovers("ipv4", dict.fromkeys(mode.leftover_questions("ipv4"), "")) == ()
    sync(proxier(*six()), node, full=True)
    answers = {q: node.tool("", list(q), "", 0)[0] for q in mode.leftover_questions("ipv4")}
    for command in mode.leftovers("ipv4", answers):
        node.execute(command, 0)
    assert node.tool("", ["nft", "list", "ruleset"], "", 0)[0] == ""
