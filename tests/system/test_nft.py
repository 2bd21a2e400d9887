"""The model's nft against nft itself: what it prints, what it refuses, where packets go.

Needs root, nft 1.0.6 (whose spelling the model has) and namespaces; skipped elsewhere.
"""

import os
import re
import shutil
import subprocess

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Recorder
from podwire.dataplane.packet import SYN, Packet
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.modes.nftables.settings import Settings
from tests.oracle.monitor import DONE, READY, Monitor
from tests.system.mirror import PREFIX, Mirror, sh
from tests.unit.dataplane.nft_data import DATA, FILES, PLACES, SETUP, errors, rules, timeless
from tests.unit.kube_proxy.conftest import endpoints, feed, service
from tests.unit.kube_proxy.test_nftables import kernel, proxier, six, sync

NETNS = f"{PREFIX}nft"
VERSION = "v1.0.6 "


def able():
    """Whether this machine has the nft that the model speaks like, and may use it."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("nft"):
        return False
    said = subprocess.run(["nft", "-v"], capture_output=True, text=True, check=False).stdout
    if VERSION not in said:
        return False
    made = subprocess.run(["ip", "netns", "add", NETNS], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", NETNS], capture_output=True, check=False)
    return made.returncode == 0


pytestmark = pytest.mark.skipif(not able(), reason="needs root and nft 1.0.6")


@pytest.fixture(scope="module")
def real():
    """nft in a namespace of its own: (arguments, input) -> (stdout, stderr, code)."""
    sh("ip", "netns", "add", NETNS)

    def nft(*argv, stdin=""):
        words = ["ip", "netns", "exec", NETNS, "nft", *argv]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
        return done.stdout, done.stderr, done.returncode

    yield nft
    sh("ip", "netns", "del", NETNS)


@pytest.mark.parametrize("name", FILES)
def test_the_recorded_listings_are_the_tools(real, name):
    text = "flush ruleset\n" + (DATA / f"{name}.nft").read_text()
    assert real("-f", "-", stdin=text) == ("", "", 0)
    assert timeless(real("list", "ruleset")[0]) == (DATA / f"{name}.list").read_text()


def test_the_recorded_rules_are_spelled_by_the_tool(real):
    """Each rule in the first place where nft takes it."""
    wrong = []
    for family, rule, wanted in rules():
        for kind, hook in PLACES:
            text = SETUP.format(family=family, kind=kind, hook=hook, rule=rule)
            if real("-f", "-", stdin=text)[2] == 0:
                break
        listed = real("list", "chain", family, "t", "x")[0].splitlines()
        if [line.strip() for line in listed[3:-2]] != [wanted]:
            wrong.append((rule, wanted, listed))
    assert wrong == []


def test_the_recorded_refusals_are_the_tools(real):
    setup, cases = errors()
    for case in cases:
        real("-f", "-", stdin="flush ruleset\n" + setup)
        answer = real("-f", "-", stdin=case["text"])
        assert answer == (case["stdout"], case["stderr"], case["code"]), case["text"]


def test_kube_proxys_table_is_listed_alike(real):
    """Six Services after a full sync, then after a partial one: byte for byte, handles and all."""
    real("flush", "ruleset")
    node, made = kernel(), proxier(*six())
    for step in range(2):
        plan = sync(made, node, full=not step)
        for command in plan.commands:
            assert real("-f", "-", stdin=command.text + command.own) == ("", "", 0)
        for argv in (("list", "ruleset"), ("-a", "list", "table", "ip", "kube-proxy"),
                     ("list", "chains", "ip"), ("list", "sets", "ip")):  # fmt: skip
            ours = node.tool("", ["nft", *argv], "", 0)[0]
            theirs = real(*argv)[0]
            if not step:
                theirs = re.sub(r"(table ip kube-proxy \{ # handle )\d+", r"\g<1>1", theirs)
                assert ours == theirs
            else:
                assert _without_handles(ours) == _without_handles(theirs)
        feed(made, service("ns1/new", "172.30.0.60"))
        feed(made, endpoints("ns1/new", "10.180.0.7@", "10.180.0.8@"))


def _without_handles(text):
    return re.sub(r" # handle \d+", "", text)


# ---------------------------------------------------------------- packets

A1, B1, A2 = "10.244.1.2", "10.244.1.3", "10.244.2.2"
WEB, ONE, EMPTY, SELF, STICKY, DNS, LOCAL = (f"10.96.0.{n}" for n in range(10, 17))


def cluster():
    """Two nodes' Services: several endpoints, none, oneself, affinity, UDP, both policies Local."""
    port = [("", 80, 30080, "TCP")]
    yield service("default/web", WEB, port, type="NodePort")
    yield endpoints("default/web", f"{A1}@node-1", f"{B1}@node-1", f"{A2}@node-2")
    yield service("default/one", ONE, [("", 80, 30081, "TCP")], type="NodePort",
                  externalTrafficPolicy="Local")  # fmt: skip
    yield endpoints("default/one", f"{A2}@node-2")
    yield service("default/empty", EMPTY, [("", 80, 30082, "TCP")], type="NodePort")
    yield service("default/self", SELF)
    yield endpoints("default/self", f"{A1}@node-1")
    yield service("default/sticky", STICKY, sessionAffinity="ClientIP")
    yield endpoints("default/sticky", f"{B1}@node-1")
    yield service("default/dns", DNS, [("", 53, 0, "UDP")])
    yield endpoints("default/dns", f"{A2}@node-2", ports=[("", 53, "UDP")])
    yield service("default/local", LOCAL, internalTrafficPolicy="Local")
    yield endpoints("default/local", f"{A2}@node-2")


@pytest.fixture(scope="module")
def lab():
    """Two nodes, four pods, a client: in the model and in the kernel, by the same nft text."""
    with Mirror(nodes=2, pods=2) as made:
        for i in (1, 2):
            name, ip = f"node-{i}", f"192.168.0.1{i}"
            made.run(name, c.SysctlSet(key="net.bridge.bridge-nf-call-iptables", value="1"))
            settings = Settings(
                local="ip saddr 10.244.0.0/16", not_local="ip saddr != 10.244.0.0/16",
                node_port_cidrs=(f"{ip}/32",),
            )  # fmt: skip
            mode = MODES["nftables"]
            state = Proxier(mode, settings, NodeFacts(name, "", (ip,)), Shared(),
                            service_cidrs=("10.96.0.0/16",))  # fmt: skip
            for item in cluster():
                feed(state, item)
            own = {("ip", "addr", "show"): f"    inet {ip}/24 scope global eth0\n"}
            made.run(name, *state.plan(full=True, existing=own).commands)
            for letter in "ab":
                made.serve(i, letter)
        yield made


TARGETS = [
    ("tcp", WEB, 80), ("tcp", ONE, 80), ("tcp", EMPTY, 80), ("tcp", SELF, 80), ("udp", DNS, 53),
    ("tcp", LOCAL, 80), ("tcp", STICKY, 80), ("tcp", STICKY, 80), ("tcp", WEB, 81),
    ("udp", WEB, 80), ("tcp", "10.96.0.99", 80), ("tcp", A2, 8080), ("tcp", A2, 81),
    ("tcp", "192.168.0.11", 30080), ("tcp", "192.168.0.12", 30080),
    ("tcp", "192.168.0.11", 30081), ("tcp", "192.168.0.12", 30081),
    ("tcp", "192.168.0.11", 30082), ("tcp", "192.168.0.12", 30099),
]  # fmt: skip
ORIGINS = [("node-1", "a1"), ("node-1", "b1"), ("node-2", "b2"), ("node-1", ""), ("node-2", ""),
           ("client", "")]  # fmt: skip


@pytest.mark.parametrize(("node", "netns"), ORIGINS, ids=[f"{n}/{s}" for n, s in ORIGINS])
def test_everybody_gets_the_answers_that_the_kernel_gives(lab, node, netns):
    """Backend and seen source, or the same kind of failure."""
    probes = TARGETS if node != "client" else [t for t in TARGETS if t[1].startswith("192.")]
    for probe, answer in zip(probes, lab.real(node, netns, probes), strict=True):
        possible = lab.model(node, netns, *probe)
        if answer == "EPERM":  # sendto itself fails where the output hook rejects a datagram
            possible = {"EPERM"} if "REFUSED" in possible else possible
        assert answer in possible, f"{probe}: the kernel says {answer}, the model {possible}"


TRACED = [("tcp", SELF, 80), ("tcp", STICKY, 80), ("tcp", EMPTY, 80), ("tcp", WEB, 81),
          ("tcp", "10.96.0.99", 80), ("tcp", "192.168.0.12", 30081)]  # fmt: skip
TRACE = f"""table ip podwire-trace {{
 chain on {{
  type filter hook prerouting priority -350;
  udp dport {{ {READY}, {DONE} }} meta nftrace set 1 reject
  ip saddr 10.244.1.2 tcp flags & (syn | ack) == syn meta nftrace set 1
 }}
}}
"""
_LINE = re.compile(r"trace id (\w+) ip (\S+) (\S+) rule (.*) \(verdict (\w+)")


def test_the_models_steps_are_those_of_nft_monitor_trace(lab):
    """From a pod of node-1: chains, rules and verdicts in the same order, on the node itself."""
    namespace = f"{PREFIX}node-1"
    sh("ip", "netns", "exec", namespace, "nft", "-f", "-", stdin=TRACE)
    listed = sh("ip", "netns", "exec", namespace, "nft", "list", "sets", "ip")
    for clients in re.findall(r"set (affinity-\S+)", listed):  # forks remember no probe either
        sh("ip", "netns", "exec", namespace, "nft", "flush", "set", "ip", "kube-proxy", clients)

    def show(port):
        lab.real("node-1", "", [("udp", "127.0.0.1", port)])

    for protocol, ip, port in TRACED:
        words = ["ip", "netns", "exec", namespace, "stdbuf", "-oL", "nft", "monitor", "trace"]
        with Monitor(words, show) as monitor:
            lab.real("node-1", "a1", [(protocol, ip, port)])
            assert monitor.whole()
        real = _told(monitor.text)
        assert real == _steps(lab, ip, port), (ip, port)


def _told(text):
    """(chain, rule, verdict) of the first packet that was traced."""
    found = []
    for _, table, chain, rule, verdict in _LINE.findall(text):
        if table == "podwire-trace" and found:
            break  # the next packet (a retransmission)
        if table == "kube-proxy":
            found.append((chain, rule, verdict))
    return _once(found)


def _once(found):
    """Without what a bridged or looped packet meets again."""
    return list(dict.fromkeys(found))


def _steps(lab, ip, port):
    recorder = Recorder()
    packet = Packet(src=A1, dst=ip, protocol="tcp", src_port=40001, dst_port=port, tcp_flags=SYN)
    lab.world.fork().kernels["node-1"].send("a1", packet, lab.now, recorder)
    found = []
    for step in recorder.steps:
        if step.stage == "ip kube-proxy":
            rule = step.rule.removeprefix(f"ip kube-proxy {step.object} ").split("  by @")[0]
            found.append((step.object, rule, step.result))
    return _once(found)
