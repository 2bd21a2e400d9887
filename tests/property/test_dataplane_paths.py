"""Kept paths change nothing that can be seen: emits, steps, counters, connections, draws, state."""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from podwire.dataplane import commands as c
from podwire.dataplane.emit import Deliver, Drop, Recorder
from podwire.dataplane.kernel import Kernel
from podwire.dataplane.packet import ACK, FIN, PSH, RST, SYN, Packet, answer_to, replace
from tests.rotation import examples
from tests.unit.dataplane.lab import Lab, syn, udp
from tests.unit.dataplane.services import ruleset, service

VIPS = [f"10.96.0.{n}" for n in range(10, 15)]
PODS = ["10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3"]
FROM = [("node-1", "a1"), ("node-1", "b1"), ("node-2", "a2"), ("node-1", ""), ("client", "")]
B1, A2, B2 = ("10.244.1.3", 8080), ("10.244.2.2", 8080), ("10.244.2.3", 8080)


def rules(which):
    """Three rule sets that differ in backends, affinity and policy."""
    backends = [[A2, B2, B1], [A2], [B1, A2]][which]
    return ruleset(
        service("web", VIPS[0], 80, backends, node_port=30080),
        service("sticky", VIPS[1], 80, backends, affinity=10 if which else 0),
        service("dns", VIPS[2], 53, backends, proto="udp"),
        service("local", VIPS[3], 80, backends, node_port=30081, local=backends[:1]),
        service("none", VIPS[4], 80, []),
    )


TARGETS = [
    *[(vip, 80) for vip in VIPS],
    (VIPS[2], 53),
    *[(pod, 8080) for pod in PODS],
    ("192.168.0.11", 30080),
    ("192.168.0.12", 30081),
    ("10.96.9.9", 80),
]
WAITS = [0, 1_000, 10**6, 4 * 10**8, 10**9, 3 * 10**9, 14 * 10**9, 31 * 10**9, 130 * 10**9]
FLAGS = [ACK, ACK, ACK, PSH | ACK, SYN, SYN, FIN | ACK, RST]
MAX, BRIDGED = "net.netfilter.nf_conntrack_max", "net.bridge.bridge-nf-call-iptables"
COMMANDS = [
    *[c.RulesRestore(text=rules(n)) for n in range(3)],
    c.LinkSet(name="flannel.1", up=False),
    c.LinkSet(name="flannel.1", up=True),
    c.SysctlSet(key=BRIDGED, value="0"),
    c.SysctlSet(key=BRIDGED, value="1"),
    c.SysctlSet(key=MAX, value="24"),
    c.SysctlSet(key=MAX, value="262144"),
]
TOOLS = [["conntrack", "-F"], ["iptables-save", "-c"], ["ip", "neigh", "flush", "dev", "cni0"]]


def story(seed):
    """A long story about few flows: what was learnt is met again, and again when it has changed."""
    dice = random.Random(seed)  # noqa: S311  a test's dice
    favourites = [
        (dice.choice(FROM), dice.choice(TARGETS), dice.choice(["tcp", "tcp", "udp"]))
        for _ in range(3)
    ]
    sport = dice.choice([1024, 20000, 40000])
    for _ in range(dice.choice([30, 60, 120])):
        kind = dice.choices(
            ["open", "burst", "talk", "wait", "command", "tool", "socket", "fork"],
            [12, 10, 40, 18, 3, 2, 5, 2],
        )[0]
        if kind in {"open", "burst"}:
            origin, target, proto = dice.choice(favourites)
            sport += dice.choice([0, 1, 1, 1])
            yield (kind, origin, target, sport, proto)
            sport += 6 if kind == "burst" else 0
        elif kind == "talk":
            yield (
                kind,
                dice.choice([0, 0, 0, 1, 2, 5]),
                dice.choice(FLAGS),
                dice.choice([None, None, b"x", b"yy"]),
            )
        elif kind == "wait":
            yield (kind, dice.choice(WAITS))
        elif kind == "command":
            yield (kind, dice.choice(["node-1", "node-2"]), dice.choice(COMMANDS))
        elif kind == "tool":
            yield (kind, dice.choice(["node-1", "node-2"]), dice.choice(TOOLS))
        elif kind == "socket":
            yield (kind, dice.choice(["b1", "a2", "b2"]), dice.choice([True, True, False]))
        else:
            yield (kind,)


class Side:
    """A laboratory with or without kept paths."""

    def __init__(self, *, paths, lab=Lab):
        self.lab = lab(nodes=2)
        for kernel in self.lab.world.kernels.values():
            if not paths:
                kernel.paths = None
        for node in ("node-1", "node-2"):
            self.lab.run(node, c.RulesRestore(text=rules(0)))
        self.flows = []
        self.forks = []
        self.listening = dict.fromkeys(("b1", "a2", "b2"), True)
        for netns in self.listening:
            self.listen(netns, up=True)

    def listen(self, netns, *, up):
        kernel = self.lab.world.kernels[f"node-{netns[1]}"]
        act = kernel.open_socket if up else kernel.close_socket
        act(netns, "tcp", "", 8080)
        act(netns, "udp", "", 8080)
        self.listening[netns] = up

    def do(self, event):
        """Do one thing; all that can be seen of it."""
        name, *words = event
        return getattr(self, name)(*words)

    def carry(self, node, netns, packet):
        recorder = Recorder()
        seen = self.lab.send(node, netns, packet, recorder)
        return [(n, e) for n, e in seen], recorder.steps

    def open(self, origin, target, sport, proto):
        made = syn(*target, sport=sport) if proto == "tcp" else udp(*target, sport=sport)
        node, netns = origin
        made = replace(made, src=self.lab.world.kernels[node].source_address(netns, made.dst))
        if made.src:
            ends = (proto, made.src, sport, made.dst, made.dst_port)
            self.lab.world.kernels[node].connect_socket(netns, *ends)
        seen, steps = self.carry(node, netns, made)
        for where, emit in seen:
            if isinstance(emit, Deliver) and not emit.packet.is_icmp_error:
                self.flows.append((node, netns, made, where, emit.netns, answer_to(emit.packet)))
        return seen, steps

    def burst(self, origin, target, sport, proto):
        """Several connections one after the other: paths are learnt and used."""
        return [self.open(origin, target, sport + n, proto) for n in range(6)]

    def talk(self, which, flags, payload):
        if not self.flows:
            return None
        node, netns, there, far, space, back = self.flows[-1 - which % len(self.flows)]
        told = []
        for _ in range(3):
            for at, of, packet in ((far, space, back), (node, netns, there)):
                own = SYN | ACK if flags == SYN and packet is back else flags
                own = own if packet.protocol == "tcp" else 0
                told.append(self.carry(at, of, replace(packet, tcp_flags=own, payload=payload)))
        return told

    def wait(self, ns):
        self.lab.now += ns
        return [
            self.lab.settle([(name, e) for e in kernel.tick(self.lab.now)])
            for name, kernel in self.lab.world.kernels.items()
        ]

    def command(self, node, command):
        self.lab.run(node, command)

    def tool(self, node, argv):
        return self.lab.world.kernels[node].tool("", argv, "", self.lab.now)

    def socket(self, netns, up):
        if self.listening[netns] != up:
            self.listen(netns, up=up)

    def fork(self):
        """A fork is made and forgotten: namespaces are shared from now on."""
        twin = self.lab.world.fork()
        self.forks.append((twin, twin.state_hash()))

    def counted(self, kernel):
        """What devices counted, kept paths' packets included."""
        if kernel.paths is not None:
            kernel.paths.settle()
        spaces = [kernel.peek(name) for name in kernel.namespaces()]
        return [astuple(link.stats) for ns in spaces for link in ns.links.values()]

    def states(self):
        return [
            (
                kernel.state_hash(),
                [
                    (ns.conntrack.found, ns.conntrack.invalid, ns.conntrack.dropped,
                     ns.conntrack.insert_failed, ns.conntrack.inserted)
                    for ns in map(kernel.peek, kernel.namespaces())
                ],
                self.counted(kernel),
            )
            for kernel in self.lab.world.kernels.values()
        ]  # fmt: skip


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_kept_paths_change_nothing_that_can_be_seen(seed):
    """The same story in two laboratories, one without kept paths: equal after every event."""
    kept, plain = Side(paths=True), Side(paths=False)
    for number, event in enumerate(story(seed)):
        assert kept.do(event) == plain.do(event), (seed, number, event)
        if number % 8 == 7:
            assert kept.states() == plain.states(), (seed, number, event)
    assert kept.states() == plain.states(), seed
    assert all(twin.state_hash() == before for twin, before in kept.forks), seed


def test_paths_are_kept_and_used(monkeypatch):
    """The property above is about something: connections and flows leave the plain road."""
    side = Side(paths=True)
    for node in ("node-1", "node-2"):
        side.lab.run(node, c.RulesRestore(text=rules(1)))
    plain = []
    for name in ("send_plainly", "receive_plainly"):
        real = getattr(Kernel, name)
        monkeypatch.setattr(
            Kernel, name, lambda self, *words, real=real: plain.append(1) or real(self, *words)
        )
    for n in range(4):
        side.open(("node-1", "a1"), (VIPS[0], 80), 41000 + n, "tcp")
    learnt, ends = len(plain), []
    for n in range(8):
        side.lab.now += 1_000
        seen, steps = side.open(("node-1", "a1"), (VIPS[0], 80), 42000 + n, "tcp")
        ends += [e.packet.dst for _, e in seen if isinstance(e, Deliver)]
        assert f"10.244.1.2:{42000 + n} > 10.96.0.10:80 tcp [S]" in [s.detail for s in steps]
    assert ends == ["10.244.2.2"] * 8
    assert len(plain) == learnt, "every new connection took a kept path"
    for flags in (SYN, ACK, ACK):
        side.talk(0, flags, None)
    learnt = len(plain)
    side.talk(0, ACK, None)
    assert len(plain) == learnt, "and so did every packet of an established one"


def test_a_command_forgets_all_paths():
    """Whatever may change a packet's way sends the next one down the plain road."""
    side = Side(paths=True)
    kernel = side.lab.world.kernels["node-1"]
    for round_ in range(12):
        side.open(("node-1", "a1"), (VIPS[0], 80), 41000 + round_, "tcp")
    assert kernel.paths.kinds
    side.lab.run("node-1", c.RulesRestore(text=rules(1)))
    assert not kernel.paths.kinds
    seen, _ = side.open(("node-1", "a1"), (VIPS[0], 80), 42000, "tcp")
    assert [e.packet.dst for _, e in seen if isinstance(e, Deliver)] == ["10.244.2.2"]
    assert not [e for _, e in seen if isinstance(e, Drop)]


def test_payload_is_carried_whichever_way_a_packet_goes():
    """A path is kept without payload and filled with each packet's own."""
    side = Side(paths=True)
    for round_ in range(6):
        side.open(("node-1", "a1"), (PODS[2], 8080), 41000 + round_, "tcp")
    side.talk(0, SYN, None)
    side.talk(0, ACK, None)
    sent = [f"payload {n}" for n in range(5)]
    got = []
    for text in sent:
        packet = Packet("10.244.1.2", PODS[2], "tcp", 41005, 8080, PSH | ACK, payload=text)
        seen, _ = side.carry("node-1", "a1", packet)
        got += [e.packet.payload for _, e in seen if isinstance(e, Deliver)]
    assert got == sent


def test_a_path_is_left_when_its_answers_are_taken():
    """A direct connection from the same port already has the answers: NAT finds another port.

    The backend is on the client's node: no tunnel's flow leads off the kept path before.
    """
    sides = Side(paths=True), Side(paths=False)
    told = []
    for side in sides:
        text = ruleset(service("web", VIPS[0], 80, [B1]))
        side.lab.run("node-1", c.RulesRestore(text=text))
        side.open(("node-1", "a1"), B1, 42000, "tcp")
        side.burst(("node-1", "a1"), (VIPS[0], 80), 41000, "tcp")
        seen, steps = side.open(("node-1", "a1"), (VIPS[0], 80), 42000, "tcp")
        told.append((seen, steps, side.states()))
        (got,) = [e.packet for _, e in seen if isinstance(e, Deliver)]
        assert got.src_port != 42000
    assert told[0] == told[1]
