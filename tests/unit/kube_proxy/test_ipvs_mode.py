"""The IPVS mode over time: what a change writes, what fades, what is put right, what is left."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.packet import ACK, SYN, Frame, Packet
from podwire.kube_proxy.config import ConfigError
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.ipvs import rules
from podwire.kube_proxy.modes.ipvs.kernel import set_entries
from podwire.kube_proxy.modes.ipvs.settings import Settings
from tests.unit.kube_proxy.conftest import NODE, NODE_IP, endpoints, proxier, service, six
from tests.unit.kube_proxy.ipvs_node import MODE, SECOND, IpvsNode, configured

GOLDEN = Path(__file__).parent / "golden" / "ipvs_rules.txt"
WEB = service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")])
DNS_ENDS = endpoints("shop/dns", "10.244.2.9", ports=[("dns", 53, "UDP")])
DNS = service("shop/dns", "10.96.0.10", [("dns", 53, 0, "UDP")])
HTTP = [("http", 8080, "TCP")]


def node(*objects, **config):
    made = IpvsNode(NODE, (NODE_IP,), config=configured(cluster_cidr="10.244.0.0/16", **config))
    made.sync(*objects)
    return made


def web(*ends):
    return endpoints("shop/web", *ends, ports=HTTP)


def kinds(commands):
    return [type(command).__name__ for command in commands]


def texts(commands, kind):
    return [command.text for command in commands if isinstance(command, kind)]


def connect(made, virtual, server, port=40000, established=True):
    """A connection of a client on the node's network through a virtual server."""
    client = "192.168.0.100"
    made.kernel.netns("").neighbours.entries.clear()
    made.run(c.RouteReplace(dst="10.244.0.0/16", dev="eth0"))
    made.run(c.NeighReplace(dev="eth0", dst=server, mac="02:00:00:00:00:99"))
    made.run(c.NeighReplace(dev="eth0", dst=client, mac="02:00:00:00:00:98"))
    ns = made.kernel.netns("")

    def arrive(src, dst, flags, sport, dport):
        packet = Packet(src, dst, "tcp", sport, dport, tcp_flags=flags)
        mac = ns.links["eth0"].mac
        made.kernel.receive("eth0", Frame("02:00:00:00:00:98", mac, packet), made.now)

    arrive(client, virtual, SYN, port, 80)
    if established:
        back = next(e for e in ns.conntrack.entries(made.now) if e.orig[2] == port).reply
        arrive(back[1], back[3], SYN | ACK, back[2], back[4])
        arrive(client, virtual, ACK, port, 80)


def test_the_first_sync_makes_device_servers_addresses_sets_and_rules():
    """In upstream's order; each once."""
    made = IpvsNode(NODE, (NODE_IP,), config=configured())
    commands = made.sync(WEB, web("10.244.2.4"))
    assert kinds(commands) == [
        "LinkAdd",
        "IpvsRestore",
        "AddrAdd",
        "IpsetRestore",
        "RulesRestore",
        "RulesRestore",
    ]
    names = made.tool("ipset", "list", "-n").split()
    assert len(names) == 17
    assert made.tool("ip", "-br", "addr", "show", "dev", "kube-ipvs0").split() == [
        "kube-ipvs0",
        "DOWN",
        "10.96.0.41/32",
    ]
    assert made.sync(full=True) != ()


def test_the_rules_of_a_node_with_every_kind_of_service():
    """iptables-save of both tables: the rules of upstream's writeIptablesRules, in its order."""
    made = IpvsNode(NODE, (NODE_IP,), config=configured(cluster_cidr="10.244.0.0/16"))
    made.sync(*six())
    saved = made.tool("iptables-save").splitlines()
    lines = [line for line in saved if line[0] in "*-" or line == "COMMIT"]
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def test_a_changed_endpoint_writes_that_servers_lines_only():
    """No rule, no other virtual server, no address."""
    made = node(WEB, web("10.244.2.4"), DNS, DNS_ENDS)
    commands = made.sync(web("10.244.2.4", "10.244.2.5"))
    assert texts(commands, c.IpvsRestore) == ["-a -t 10.96.0.41:80 -r 10.244.2.5:8080 -m -w 1\n"]
    assert kinds(commands) == ["IpvsRestore"]
    assert made.sync() == ()


def test_a_deleted_service_takes_servers_entries_and_address_along():
    """The device and the sets stay; rules about empty sets go."""
    made = node(WEB, web(f"10.244.1.4@{NODE}"))
    assert "KUBE-LOOP-BACK" in "".join(made.chain("KUBE-POSTROUTING", "nat"))
    made.proxier.service(WEB, None)
    made.proxier.slice(web(f"10.244.1.4@{NODE}"), None)
    made.sync()
    assert made.servers() == {}
    assert not any(set_entries(made.tool("ipset", "save")).values())
    assert "KUBE-LOOP-BACK" not in "".join(made.chain("KUBE-POSTROUTING", "nat"))
    assert "10.96.0.41" not in made.tool("ip", "addr", "show")


def test_an_entry_stays_while_another_service_wants_it():
    """Two Services with the same local endpoint and external IP."""
    other = service("shop/too", "10.96.0.42", [("http", 81, 0, "TCP")], externalIPs=["50.0.0.1"])
    first = service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")], externalIPs=["50.0.0.1"])
    ends = [endpoints(n, f"10.244.1.4@{NODE}", ports=HTTP) for n in ("shop/web", "shop/too")]
    made = node(first, other, *ends)
    made.proxier.service(first, None)
    made.proxier.slice(ends[0], None)
    made.sync()
    assert made.entries("KUBE-LOOP-BACK") == ["10.244.1.4,tcp:8080,10.244.1.4"]
    assert made.entries("KUBE-IPVS-IPS") == ["10.96.0.42", "50.0.0.1"]
    assert "50.0.0.1/32" in made.tool("ip", "addr", "show", "dev", "kube-ipvs0")


def test_a_tcp_server_with_connections_fades_and_goes_when_they_ended():
    """Weight 0 first; looked at each minute; deleted once nothing is left."""
    made = node(WEB, web("10.244.2.4"))
    connect(made, "10.96.0.41", "10.244.2.4")
    commands = made.sync(web("10.244.2.5"))
    (text,) = texts(commands, c.IpvsRestore)
    assert text == (
        "-a -t 10.96.0.41:80 -r 10.244.2.5:8080 -m -w 1\n"
        "-e -t 10.96.0.41:80 -r 10.244.2.4:8080 -m -w 0\n"
    )
    made.now += 60 * SECOND
    assert made.chore("graceful").commands == ()
    assert "10.244.2.4:8080              Masq    0      1          0" in made.tool("ipvsadm", "-Ln")
    made.now += 900 * SECOND
    made.chore("graceful")
    assert made.servers() == {"TCP 10.96.0.41:80": ["10.244.2.5:8080"]}
    assert made.proxier.programmed.leaving == {}


def test_a_server_without_connections_and_any_of_udp_goes_at_once():
    """Nothing to wait for; UDP is never waited for."""
    made = node(WEB, web("10.244.2.4"), DNS, DNS_ENDS)
    commands = made.sync(web(), endpoints("shop/dns", ports=[("dns", 53, "UDP")]))
    assert texts(commands, c.IpvsRestore) == [
        "-d -u 10.96.0.10:53 -r 10.244.2.9:53\n-d -t 10.96.0.41:80 -r 10.244.2.4:8080\n"
    ]


def test_a_fading_server_that_comes_back_is_deleted_and_added_anew():
    """MoveRSOutofGracefulDeleteList."""
    made = node(WEB, web("10.244.2.4"))
    connect(made, "10.96.0.41", "10.244.2.4")
    made.sync(web("10.244.2.5"))
    commands = made.sync(web("10.244.2.4", "10.244.2.5"))
    assert texts(commands, c.IpvsRestore) == [
        "-d -t 10.96.0.41:80 -r 10.244.2.4:8080\n-a -t 10.96.0.41:80 -r 10.244.2.4:8080 -m -w 1\n"
    ]
    assert made.proxier.programmed.leaving == {}


def test_a_restart_takes_over_what_it_finds():
    """Weights are set right, strangers deleted, addresses and entries corrected."""
    made = node(WEB, web("10.244.2.4"))
    made.run(
        c.IpvsRestore(
            text="-e -t 10.96.0.41:80 -r 10.244.2.4:8080 -m -w 0\n-A -t 9.9.9.9:9 -s wrr\n"
            "-E -t 10.96.0.41:80 -s lc\n"
        ),
        c.IpsetRestore(text="add KUBE-CLUSTER-IP 9.9.9.9,tcp:9\ndel KUBE-IPVS-IPS 10.96.0.41\n"),
        c.AddrAdd(dev="kube-ipvs0", cidr="9.9.9.9/32"),
    )
    again = IpvsNode(NODE, (NODE_IP,), config=configured(), kernel=made.kernel)
    commands = again.sync(WEB, web("10.244.2.4"))
    assert texts(commands, c.IpvsRestore) == [
        "-E -t 10.96.0.41:80 -s rr\n-e -t 10.96.0.41:80 -r 10.244.2.4:8080 -m -w 1\n",
        "-D -t 9.9.9.9:9\n",
    ]
    assert again.servers() == {"TCP 10.96.0.41:80": ["10.244.2.4:8080"]}
    assert again.entries("KUBE-CLUSTER-IP") == ["10.96.0.41,tcp:80"]
    assert again.entries("KUBE-IPVS-IPS") == ["10.96.0.41"]
    assert "9.9.9.9" not in again.tool("ip", "addr", "show")


def test_virtual_servers_in_excluded_networks_are_left_alone():
    """excludeCIDRs."""
    made = IpvsNode(NODE, (NODE_IP,), config=configured(exclude_cidrs=("9.9.0.0/16",)))
    made.run(c.IpvsRestore(text="-A -t 9.9.9.9:9 -s wrr\n-A -t 8.8.8.8:8 -s wrr\n"))
    made.sync(WEB, web("10.244.2.4"))
    assert sorted(made.servers()) == ["TCP 10.96.0.41:80", "TCP 9.9.9.9:9"]


@pytest.mark.parametrize(
    ("scheduler", "affinity", "shown"),
    [
        ("", "None", "rr"),
        ("wlc", "None", "wlc"),
        ("mh", "None", "mh (mh-port)"),
        ("rr", "ClientIP", "rr persistent 10800"),
    ],
)
def test_scheduler_and_affinity_are_the_virtual_servers(scheduler, affinity, shown):
    """The ConfigMap's scheduler; sessionAffinity is persistence; mh hashes ports too."""
    sticky = service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")], sessionAffinity=affinity)
    made = node(sticky, web("10.244.2.4"), scheduler=scheduler)
    assert f"TCP  10.96.0.41:80 {shown}\n" in made.tool("ipvsadm", "-Ln")


def test_affinity_that_is_switched_on_edits_the_virtual_server():
    """-E: its real servers and connections stay."""
    made = node(WEB, web("10.244.2.4"))
    sticky = service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")], sessionAffinity="ClientIP")
    made.proxier.service(WEB, sticky)
    assert texts(made.sync(), c.IpvsRestore) == ["-E -t 10.96.0.41:80 -s rr -p 10800\n"]


def test_an_unknown_scheduler_is_refused_in_upstreams_words():
    """kube-proxy does not start."""
    with pytest.raises(ConfigError, match=r'Scheduler: Invalid value: "fair": must be in rr, wrr'):
        MODE.settings(configured(scheduler="fair"), NodeFacts(NODE), "ipv4")


def test_the_node_is_prepared_with_sysctls_strict_arp_and_timeouts():
    """vs.conntrack and friends; arp_ignore and arp_announce; ipvsadm --set."""
    made = IpvsNode(
        NODE,
        (NODE_IP,),
        config=configured(strict_arp=True, tcp_timeout_s=1000.0, udp_timeout_s=30.0),
    )
    keys = ("net.ipv4.vs.conntrack", "net.ipv4.vs.expire_nodest_conn", "net.ipv4.ip_forward",
            "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce")  # fmt: skip
    assert made.tool("sysctl", "-n", *keys).split() == ["1", "1", "1", "1", "2"]
    assert made.tool("ipvsadm", "-Ln", "--timeout") == "Timeout (tcp tcpfin udp): 1000 120 30\n"


def test_an_external_ip_that_another_device_holds_is_not_bound():
    """The virtual server is made all the same."""
    mine = service("shop/web", "10.96.0.41", [("http", 80, 0, "TCP")], externalIPs=[NODE_IP])
    made = node(mine, web("10.244.2.4"))
    assert f"TCP {NODE_IP}:80" in made.servers()
    assert NODE_IP not in made.tool("ip", "addr", "show", "dev", "kube-ipvs0")
    assert made.entries("KUBE-IPVS-IPS") == ["10.96.0.41"]


def test_source_ranges_without_the_node_keep_the_node_out():
    """KUBE-IPVS-OUT-FILTER; with the node in them, a source entry lets it in."""
    for ranges, shut in ((["203.0.113.0/25"], True), (["192.168.0.0/16"], False)):
        guarded = service(
            "shop/cart", "10.96.0.45", [("http", 80, 0, "TCP")], type="LoadBalancer",
            lb=["5.6.7.8"], loadBalancerSourceRanges=ranges,
        )  # fmt: skip
        made = node(guarded, endpoints("shop/cart", "10.244.2.7", ports=HTTP))
        out = made.chain("KUBE-IPVS-OUT-FILTER", "filter")
        rule = "-s 5.6.7.8/32 -m ipvs --vproto 6 --vaddr 5.6.7.8 --vport 80 -j DROP"
        assert out == ([rule] if shut else [])
        own = [] if shut else ["5.6.7.8,tcp:80,5.6.7.8"]
        assert made.entries("KUBE-LOAD-BALANCER-SOURCE-IP") == own


def test_a_source_range_for_everybody_lets_nobody_in():
    """ipset refuses 0.0.0.0/0, as upstream's log says; the firewall's rules stand."""
    guarded = service(
        "shop/cart", "10.96.0.45", [("http", 80, 0, "TCP")], type="LoadBalancer", lb=["5.6.7.8"],
        loadBalancerSourceRanges=["0.0.0.0/0"],
    )  # fmt: skip
    made = node(guarded, endpoints("shop/cart", "10.244.2.7", ports=HTTP))
    assert made.entries("KUBE-LOAD-BALANCER-SOURCE-CIDR") == []
    assert made.entries("KUBE-LOAD-BALANCER-FW") == ["5.6.7.8,tcp:80"]
    assert made.chain("KUBE-SOURCE-RANGES-FIREWALL", "filter")[-1] == "-j DROP"


def test_who_is_in_the_cluster_decides_what_is_masqueraded():
    """masqueradeAll: everything; a detector: traffic from elsewhere; none: the node's own."""

    def masquerading(**changes):
        text, _ = rules.restore_text(replace(Settings(), **changes), lambda _: True, ())
        return next(line for line in text.splitlines()
                    if line.startswith("-A KUBE-SERVICES") and "for masquerade purpose" in line
                    and "KUBE-CLUSTER-IP" in line)  # fmt: skip

    assert "dst,dst -j KUBE-MARK-MASQ" in masquerading(masquerade_all=True)
    assert "dst,dst ! -i eth+ -j" in masquerading(not_local="! -i eth+")
    assert "src,dst -j KUBE-MARK-MASQ" in masquerading()


def test_what_somebody_removed_is_noticed_and_put_back():
    """Each syncPeriod the mode looks for its device, its sets and its jumps."""
    made = node(WEB, web("10.244.2.4"))
    assert made.chore("look").resync == ""
    made.kernel.tool("", ["iptables", "-t", "nat", "-F", "PREROUTING"], "", made.now)
    assert made.chore("look").resync != ""
    made.sync(full=True)
    assert made.chore("look").resync == ""
    made.run(c.LinkDel(name="kube-ipvs0"))
    assert made.chore("look").resync != ""
    made.sync(full=True)
    assert "10.96.0.41/32" in made.tool("ip", "addr", "show", "dev", "kube-ipvs0")


def test_the_mode_leaves_a_kernel_as_it_found_it():
    """Virtual servers, device, chains, jumps, sets go; a stranger's rule and set stay."""
    made = IpvsNode(NODE, (NODE_IP,), config=configured())
    made.run(
        c.IpsetRestore(text="create mine hash:ip\n"),
        c.RulesRestore(text="*nat\n-A PREROUTING -m set --match-set mine src -j ACCEPT\nCOMMIT\n"),
    )
    made.sync(*six())
    for family in ("ipv4", "ipv6"):
        made.run(*MODE.leftovers(family, made.ask(MODE.leftover_questions(family))))
    assert "KUBE" not in made.tool("iptables-save")
    assert "--match-set mine src" in made.tool("iptables-save")
    assert made.tool("ipset", "list", "-n") == "mine\n"
    assert made.tool("ipvsadm", "-Sn") == ""
    assert "kube-ipvs0" not in made.tool("ip", "link", "show")
    for family in ("ipv4", "ipv6"):
        assert MODE.leftovers(family, made.ask(MODE.leftover_questions(family))) == ()


def test_modes_change_places_without_stale_rules():
    """iptables to ipvs and back: each removes the other's traces, and only those."""
    iptables = MODES["iptables"]
    made = IpvsNode(NODE, (NODE_IP,), config=configured())
    start = proxier(*six()).plan(full=True, existing={("iptables-save",): ""})
    made.run(*start.commands)
    made.run(*iptables.leftovers("ipv4", made.ask(iptables.leftover_questions("ipv4"))))
    made.sync(*six())
    assert "KUBE-SEP-" not in made.tool("iptables-save")
    assert iptables.leftovers("ipv4", made.ask(iptables.leftover_questions("ipv4"))) == ()
    made.run(*MODE.leftovers("ipv4", made.ask(MODE.leftover_questions("ipv4"))))
    again = proxier(*six()).plan(full=True, existing={("iptables-save",): ""})
    made.run(*again.commands)
    assert "KUBE-IPVS-FILTER" not in made.tool("iptables-save")
    assert MODE.leftovers("ipv4", made.ask(MODE.leftover_questions("ipv4"))) == ()


def test_both_families_live_beside_each_other():
    """One device, two sets of sets; each proxier deletes only its own family's servers."""
    kernel_of = IpvsNode(NODE, (NODE_IP, "fd00::11"), config=configured())
    six_of = IpvsNode(NODE, (NODE_IP, "fd00::11"), "ipv6", configured(), kernel_of.kernel)
    v6 = service("shop/six", "fd00:96::41", [("http", 80, 0, "TCP")])
    kernel_of.sync(WEB, web("10.244.2.4"), v6)
    six_of.sync(WEB, v6)
    kernel_of.sync(full=True)
    assert sorted(kernel_of.servers()) == ["TCP 10.96.0.41:80", "TCP [fd00:96::41]:80"]
    assert six_of.entries("KUBE-6-CLUSTER-IP") == ["fd00:96::41,tcp:80"]
    assert "KUBE-6-LOAD-BALANCER-SOURCE-CID" in six_of.tool("ipset", "list", "-n").split()
    assert any("KUBE-6-CLUSTER-IP" in rule for rule in six_of.chain("KUBE-SERVICES", "nat"))


def test_equal_nodes_share_what_is_worked_out():
    """The account of a kernel's contents is one object for all nodes that hold the same."""
    first = node(*six())
    second = IpvsNode("node-2", ("192.168.0.12",), config=configured(cluster_cidr="10.244.0.0/16"),
                      shared=first.proxier.shared)  # fmt: skip
    plain = service("shop/plain", "10.96.0.50"), endpoints("shop/plain", "10.244.2.4")
    third = IpvsNode("node-3", ("192.168.0.13",), config=configured(cluster_cidr="10.244.0.0/16"),
                     shared=second.proxier.shared)  # fmt: skip
    second.sync(*versioned(plain))
    third.sync(*versioned(plain))
    assert second.proxier.programmed.account is third.proxier.programmed.account


def versioned(objects):
    """The objects with revisions, as an API server's have."""
    return [
        msgspec.structs.replace(
            item, metadata=msgspec.structs.replace(item.metadata, resource_version="7")
        )
        for item in objects
    ]
