"""The caches of one kernel: where a packet takes a kept path, or the plain road."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from podwire.dataplane.packet import SYN, Frame, Packet, Vxlan, replace
from podwire.dataplane.paths import fill
from podwire.dataplane.paths.flows import Flow, flow_of
from podwire.dataplane.paths.kinds import Holes, Node, Walk, graft, leaf_of
from podwire.dataplane.paths.notes import Drawn, Notes, Noting, Traffic
from podwire.dataplane.run import Run

if TYPE_CHECKING:
    from podwire.dataplane.emit import Emit, Recorder
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.verdict import Step

MOST = 1 << 16
"""How many flows and how many kinds are kept; then all are forgotten."""
PATIENCE = 8
"""How often a packet's path is noted down in vain before its like are left alone."""


class PathCache:
    """Flows and kinds by what identifies them. Empty, every packet goes the plain road."""

    __slots__ = ("flows", "kinds", "met", "owed", "vain")

    def __init__(self) -> None:
        self.flows: dict[Hashable, Flow] = {}
        self.kinds: dict[Hashable, Node] = {}
        self.owed: list[Traffic] = []
        """Paths whose devices have not counted yet what went them."""
        self.vain: dict[Hashable, int] = {}
        self.met: dict[Hashable, None] = {}
        """What came once. Most packets of a short connection never come twice as they are: their
        paths are noted down from the second time on.
        """

    def forget(self) -> None:
        """Forget everything, once it is counted."""
        self.settle()
        if self.flows:
            self.flows.clear()
        if self.kinds:
            self.kinds.clear()
        if self.vain:
            self.vain.clear()
        if self.met:
            self.met.clear()

    def settle(self) -> None:
        """Bring the counters of devices up to date."""
        for traffic in self.owed:
            traffic.settle()
        self.owed.clear()

    # ------------------------------------------------------------ the two ways in

    def send(
        self, kernel: Kernel, netns: str, packet: Packet, now_ns: int, recorder: Recorder | None
    ) -> list[Emit]:
        """``Kernel.send``."""

        def plainly(run: Run) -> list[Emit]:
            return kernel.send_plainly(netns, packet, run)

        if not fill.simple(packet):
            return plainly(Run(kernel, now_ns, recorder))
        traced, payload = recorder is not None, packet.payload
        bare = packet if payload is None else replace(packet, payload=None)
        first = packet.protocol == "udp" or packet.tcp_flags == SYN
        kind_key = (traced, netns, replace(bare, src_port=0)) if first else None
        flow_key = None if first and packet.protocol == "tcp" else (traced, netns, bare)
        holes = (packet.src_port, 0)
        return self._go(kernel, plainly, flow_key, kind_key, holes, payload, now_ns, recorder)

    def receive(
        self, kernel: Kernel, device: str, frame: Frame, now_ns: int, recorder: Recorder | None
    ) -> list[Emit]:
        """``Kernel.receive``."""

        def plainly(run: Run) -> list[Emit]:
            return kernel.receive_plainly(device, frame, run)

        packet = frame.packet
        if packet is None:
            return plainly(Run(kernel, now_ns, recorder))
        traced = recorder is not None
        wrap = packet.payload
        if isinstance(wrap, Vxlan):
            inner = wrap.frame.packet
            if inner is None or packet.protocol != "udp" or packet.original is not None:
                return plainly(Run(kernel, now_ns, recorder))
        else:
            inner = packet
        if not fill.simple(inner):
            return plainly(Run(kernel, now_ns, recorder))
        payload = inner.payload
        kind_key: Hashable = None
        holes = (inner.src_port, 0)
        if inner.protocol == "udp" or inner.tcp_flags == SYN:
            core = replace(inner, src_port=0, payload=None)
            kind_key = (traced, device, frame.src, frame.dst, core)
            if inner is not packet:
                outer = replace(packet, src_port=0, payload=None)
                kind_key = (*kind_key, outer, wrap.vni, wrap.kind, wrap.frame.src, wrap.frame.dst)
                holes = (inner.src_port, packet.src_port)
        opens = kind_key is not None and inner.protocol == "tcp"
        flow_key = None
        if not opens:
            flow_key = (traced, device, frame if payload is None else fill.frame_with(frame, None))
        return self._go(kernel, plainly, flow_key, kind_key, holes, payload, now_ns, recorder)

    # ------------------------------------------------------------ kept path or plain road

    def _go(
        self,
        kernel: Kernel,
        plainly: Callable[[Run], list[Emit]],
        flow_key: Hashable,
        kind_key: Hashable,
        holes: Holes,
        payload: object,
        now_ns: int,
        recorder: Recorder | None,
    ) -> list[Emit]:
        flow = self.flows.get(flow_key) if flow_key is not None else None
        if flow is not None:
            emits = flow.again(now_ns, recorder, payload)
            if emits is not None:
                return emits
        elif kind_key is None and flow_key not in self.met:
            if len(self.met) >= MOST:
                self.met.clear()
            self.met[flow_key] = None
            return plainly(Run(kernel, now_ns, recorder))
        drawn: list[bool] = []
        root = self.kinds.get(kind_key) if kind_key is not None else None
        if root is not None:
            walk = Walk(root, holes, kernel.chance, now_ns)
            leaf, drawn = walk.leaf, walk.drawn
            if leaf is not None and leaf.proved and now_ns < leaf.until_ns:
                emits = leaf.again(walk.found, walk.holes, now_ns, recorder, payload, kernel.spaces)
                if emits is not None:
                    return emits
        return self._learn(
            kernel,
            plainly,
            flow_key,
            kind_key,
            holes,
            payload,
            Run(kernel, now_ns, recorder),
            drawn,
        )

    def _learn(
        self,
        kernel: Kernel,
        plainly: Callable[[Run], list[Emit]],
        flow_key: Hashable,
        kind_key: Hashable,
        holes: Holes,
        payload: object,
        run: Run,
        drawn: list[bool],
    ) -> list[Emit]:
        """The plain road, noting down what mattered. What was drawn already is drawn again."""
        hopeless = kind_key if kind_key is not None else flow_key
        notes = None if self.vain.get(hopeless, 0) >= PATIENCE else Notes(run.now_ns, self.owed)
        recorder = run.recorder
        began = len(recorder.steps) if recorder is not None else 0
        chance = kernel.chance
        if drawn:
            kernel.chance = Drawn(chance, drawn)
        if notes is not None:
            run.notes = notes
            kernel.chance = Noting(kernel.chance, notes)
        try:
            emits = plainly(run)
        finally:
            kernel.chance = chance
            if notes is not None:
                notes.close()
        if notes is not None:
            steps = recorder.steps[began:] if recorder is not None else []
            if len(self.flows) >= MOST or len(self.kinds) >= MOST or len(self.vain) >= MOST:
                self.forget()
            if not self._keep(kernel, notes, emits, steps, flow_key, kind_key, holes, payload):
                self.vain[hopeless] = self.vain.get(hopeless, 0) + 1
        return emits

    def _keep(
        self,
        kernel: Kernel,
        notes: Notes,
        emits: list[Emit],
        steps: list[Step],
        flow_key: Hashable,
        kind_key: Hashable,
        holes: Holes,
        payload: object,
    ) -> bool:
        if not notes.fit or not emits:
            return False
        flow = flow_of(notes, emits, steps, kernel.spaces, payload) if flow_key else None
        if flow is not None:
            self.flows[flow_key] = flow
            return True
        if kind_key is None:
            return False
        made = leaf_of(notes, emits, steps, holes, payload)
        if made is None:
            return False
        leaf, holes, crc = made
        root = graft(self.kinds.get(kind_key), notes, leaf, holes, crc)
        if root is None:
            self.kinds.pop(kind_key, None)
            return False
        self.kinds[kind_key] = root
        return True
