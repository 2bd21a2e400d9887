"""The laboratory twice: in the model, and in real network namespaces by the same commands."""

import json
import os
import subprocess

from podwire.dataplane import commands as c
from podwire.dataplane.verdict import Fate, WalkRequest
from podwire.runtime.rng import SeededRng
from tests.oracle.iproute import ip_words
from tests.unit.dataplane.lab import Lab

PREFIX = f"pwk{os.getpid()}-"
FABRIC = f"{PREFIX}fabric"
PORT, DATAGRAM_PORT = 8080, 53

SERVER = """
import socket, sys, selectors
name, chosen = sys.argv[1], selectors.DefaultSelector()
six = socket.AF_INET6
tcp = socket.create_server(("::", 8080), family=six, dualstack_ipv6=True)
udp = socket.socket(six, socket.SOCK_DGRAM); udp.setsockopt(41, socket.IPV6_V6ONLY, 0)
udp.bind(("::", 53))
seen = lambda peer: peer[0].removeprefix("::ffff:")
chosen.register(tcp, 1); chosen.register(udp, 1); print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj is tcp:
            s, peer = tcp.accept(); s.sendall(f"{name} {seen(peer)}".encode()); s.close()
        else:
            _, peer = udp.recvfrom(2000); udp.sendto(f"{name} {seen(peer)}".encode(), peer)
"""
PROBE = """
import errno, json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def probe(wanted):
    proto, ip, port = wanted
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    # no wire here takes time, so a rejection may come back while connect() still holds its socket:
    # then Linux believes only that of the next SYN, a second later (tcp_v6_err)
    s.settimeout(2.5 if ":" in ip else 1)
    with s:
        try:
            s.connect((ip, port))
            if proto == "udp": s.send(b"x")
            return s.recv(100).decode()
        except TimeoutError: return "TIMEOUT"
        except ConnectionRefusedError: return "REFUSED"
        except OSError as e: return errno.errorcode[e.errno]
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(probe, json.loads(sys.argv[1])))))
"""


def sh(*words, stdin=None):
    done = subprocess.run(words, input=stdin, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


class Mirror(Lab):
    """A laboratory whose every command also runs in the kernel of this machine.

    Use as a context manager: afterwards its namespaces are gone.
    """

    def __init__(self, **options):
        self.made = []
        self.servers = []
        self._netns(FABRIC)
        sh("ip", "-n", FABRIC, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", FABRIC, "link", "set", "br0", "up")
        super().__init__(**options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.kill()
            server.wait()
            server.stdout.close()
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _netns(self, name):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        sh("ip", "netns", "add", name)
        self.made.append(name)
        sh("ip", "-n", name, "link", "set", "lo", "up")
        for key in ("all", "default"):
            # the model knows no duplicate address detection, nor routers that advertise
            off = [f"net.ipv6.conf.{key}.{k}=0" for k in ("accept_dad", "accept_ra")]
            sh("ip", "netns", "exec", name, "sysctl", "-qw", *off)
        # nor limits of ICMP errors, which probes made all at once would meet
        unlimited = ("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        sh("ip", "netns", "exec", name, "sysctl", "-qw", *unlimited)

    def host(self, name, address, router="192.168.0.1", seed=1):
        self._netns(PREFIX + name)
        last = int(address.rsplit(".", 1)[1])
        port = f"p{last}"
        peer = ("peer", "name", port, "netns", FABRIC)
        sh("ip", "-n", PREFIX + name, "link", "add", "eth0", "type", "veth", *peer)
        mac = f"02:00:00:00:00:{last:02x}"
        sh("ip", "-n", PREFIX + name, "link", "set", "eth0", "address", mac, "up")
        sh("ip", "-n", FABRIC, "link", "set", port, "master", "br0", "up")
        for key in ("all", "default", "eth0"):
            self._real(PREFIX + name, c.SysctlSet(key=f"net.ipv4.conf.{key}.rp_filter", value="0"))
        super().host(name, address, router, seed)

    def run(self, node, *commands):
        super().run(node, *commands)
        for command in commands:
            if getattr(command, "dev", "") != "wan0":
                self._real(PREFIX + (command.netns or node), command)

    def _real(self, ns, command):
        ip, bridge = ("ip", "-n", ns), ("bridge", "-n", ns)
        match command:
            case c.NetnsAdd():
                self._netns(PREFIX + command.name)
            case c.RuleAdd():
                family = ["-6"] if command.family == "ipv6" else []
                sh(*ip, *family, "rule", "add", *_rule_words(command))
            case c.FdbReplace():
                where = ("dst", command.dst, "self", "permanent")
                sh(*bridge, "fdb", "replace", command.mac, "dev", command.dev, *where)
            case c.SysctlSet():
                key = f"{command.key}={command.value}"
                sh("ip", "netns", "exec", ns, "sysctl", "-qw", key)
            case c.RulesRestore():
                words = ["--noflush"] if command.noflush else []
                tool = "ip6tables-restore" if command.family == "ipv6" else "iptables-restore"
                sh("ip", "netns", "exec", ns, tool, *words, stdin=command.text)
            case c.NftApply():
                exe = ("ip", "netns", "exec", ns, "nft", "-f", "-")
                sh(*exe, stdin=command.text + command.own)
            case _:
                for line in ip_words(command, lambda netns: PREFIX + netns):
                    sh(*ip, *line.split())

    # ------------------------------------------------------------ programs and answers

    def serve(self, i, letter):
        """The same program in the pod, in both worlds."""
        name = f"{letter}{i}"
        self.listen(f"node-{i}", name, PORT)
        self.listen(f"node-{i}", name, DATAGRAM_PORT, "udp")
        words = ["ip", "netns", "exec", PREFIX + name, "python3", "-c", SERVER, name]
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stdout.readline() == "ready\n"

    def real(self, node, netns, probes):
        """What the kernel answers to (protocol, address, port) probes from a namespace."""
        ns = PREFIX + (netns or node)
        text = json.dumps(probes)
        return json.loads(sh("ip", "netns", "exec", ns, "python3", "-c", PROBE, text))

    def agree(self, node, netns, probes):
        """The kernel answers each probe as the model may: backend and seen source, or errno."""
        for probe, answer in zip(probes, self.real(node, netns, probes), strict=True):
            possible = self.model(node, netns, *probe)
            assert answer in possible, f"{probe}: the kernel says {answer}, the model {possible}"

    def model(self, node, netns, protocol, ip, port):
        """What the model may answer: a set, for there may be several branches."""
        request = WalkRequest(node=node, netns=netns, protocol=protocol, dst=ip, dst_port=port)
        walked = self.world.walk(request, SeededRng(1), self.now)
        return {_words(branch) for branch in walked.branches}


def _rule_words(command):
    words = ["not"] if command.inverted else []
    for word, value in (
        ("pref", command.priority),
        ("from", command.src),
        ("to", command.dst),
        ("iif", command.iif),
        ("oif", command.oif),
        ("ipproto", command.protocol),
        ("sport", command.sport),
        ("dport", command.dport),
    ):
        words += [word, str(value)] if value else []
    mask = f"/{command.mask:#x}" if command.mask else ""
    words += ["fwmark", f"{command.mark:#x}{mask}"] if command.mark else []
    if command.action == "lookup":
        words += ["lookup", command.table]
        if command.suppress_prefixlength >= 0:
            words += ["suppress_prefixlength", str(command.suppress_prefixlength)]
        return words
    return [*words, command.action, *([str(command.target)] if command.target else [])]


def _words(branch):
    if branch.fate is Fate.DELIVERED:
        return f"{branch.netns} {branch.flow.src}"
    last = branch.hops[-1].steps[-1]
    if last.result == "deliver":
        return "TIMEOUT"  # it arrived, but its answer did not come home
    if branch.fate is Fate.REFUSED or "reject" in last.rule.lower():
        return "REFUSED"
    return _told(branch) if branch.fate is Fate.NULL_ROUTED else "TIMEOUT"


def _told(branch):
    """The errno that the ICMP error on the way back means to connect()."""
    words = [s.detail for h in branch.reply_hops for s in h.steps if s.stage == "socket"]
    for text, errno in (
        ("host unreachable", "EHOSTUNREACH"),
        ("net unreachable", "ENETUNREACH"),
        ("unreachable route", "ENETUNREACH"),
        ("unreachable prohibited", "EACCES"),
        ("unreachable address", "EHOSTUNREACH"),
    ):
        if any(text in word for word in words):
            return errno
    return "TIMEOUT"
