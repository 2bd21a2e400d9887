"""The monitor: who was heard of when, who is silent, who gets a NoExecute taint (pure).

Source: kubernetes pkg/controller/nodelifecycle (monitorNodeHealth, processTaintBaseEviction).
Upstream looks at all nodes every nodeMonitorPeriod. Here a pass falls on the same ticks, but only
on those at which it can find something: after a change, or when somebody's grace period ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from podwire.api.times import NS
from podwire.api.views import Node
from podwire.client.placement import NO_EXECUTE
from podwire.controllers.common import next_tick
from podwire.controllers.config import ControllersConfig
from podwire.controllers.nodelifecycle.core import NOT_READY, UNREACHABLE, ready_status
from podwire.controllers.nodelifecycle.zones import EXCLUDED, Change, Zones, zone_key


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to taint a node: with which key, and since when."""

    key: str
    at_ns: int


class Monitor:
    """What node lifecycle remembers. ``origin_ns`` is a tick; times are nanoseconds."""

    def __init__(self, config: ControllersConfig, origin_ns: int) -> None:
        self._config = config
        self._origin_ns = origin_ns
        self._period_ns = round(config.node_monitor_period_s * NS)
        self._probe_ns: dict[str, int] = {}
        """The tick at which a node's last sign of life was (or will be) noticed."""
        self._due_ns: int | None = None
        """The next pass, if something changed."""
        self.zones = Zones(config)
        self.late: dict[str, None] = {}
        """Nodes whose grace period is over: their conditions are to be Unknown."""
        self.fallen: dict[str, None] = {}
        """Those of them that were Ready: their pods serve nobody any more."""
        self.granted: dict[str, Grant] = {}
        """Nodes that shall have a NoExecute taint."""

    # ------------------------------------------------------------ signs of life

    def tick(self, at_ns: int) -> int:
        """The first tick that is not before a moment."""
        return next_tick(self._origin_ns, self._period_ns, at_ns)

    def heard(self, name: str, now_ns: int) -> None:
        """A node gave a sign of life; the next pass would notice."""
        self._probe_ns[name] = self.tick(now_ns)
        self.late.pop(name, None)
        self.fallen.pop(name, None)

    def changed(self, now_ns: int) -> int:
        """Something that a pass looks at is different; when the next pass is."""
        if self._due_ns is None:
            self._due_ns = self.tick(now_ns + 1)
        return self._due_ns

    def added(self, node: Node, now_ns: int) -> None:
        """A node that was not known: it is taken to be alive, and reachable."""
        name = node.metadata.name
        self.zones.of(node)
        self.heard(name, now_ns)
        self._reachable(name)
        self.changed(now_ns)

    def removed(self, name: str, now_ns: int) -> None:
        """A node is gone. In its zone's queue it stays: its turn still costs a token."""
        self._probe_ns.pop(name, None)
        self.late.pop(name, None)
        self.fallen.pop(name, None)
        self.granted.pop(name, None)
        self.changed(now_ns)

    def _reachable(self, name: str) -> None:
        self.granted.pop(name, None)
        self.zones.dequeue(name)

    def _deadline_ns(self, node: Node) -> int:
        config = self._config
        grace_s = config.node_monitor_grace_period_s
        if not any(c.type == "Ready" for c in node.status.conditions):
            grace_s = config.node_startup_grace_period_s
        return self._probe_ns[node.metadata.name] + round(grace_s * NS)

    # ------------------------------------------------------------ passes

    def step(self, nodes: Mapping[str, Node], now_ns: int) -> tuple[list[str], Change]:
        """Do a pass if one is due, then taint whose turn it is; the nodes to reconcile."""
        touched: dict[str, None] = {}
        change = Change.NONE
        known = [n for n in nodes.values() if n.metadata.name in self._probe_ns]
        if self._pass_ns(known) <= now_ns:
            self._due_ns = None
            change = self._pass(known, touched, now_ns)
        for name in self.zones.take(now_ns):
            node = nodes.get(name)
            if node is not None and (key := _taint_key(ready_status(node))):
                self.granted[name] = Grant(key, now_ns)
                touched[name] = None
        return list(touched), change

    def next_ns(self, nodes: Mapping[str, Node]) -> int | None:
        """When ``step`` is to be called again."""
        known = [n for n in nodes.values() if n.metadata.name in self._probe_ns]
        found = [self._pass_ns(known), self.zones.next_ns()]
        return min((at_ns for at_ns in found if at_ns is not None and at_ns < _NEVER), default=None)

    def _pass_ns(self, known: list[Node]) -> int:
        waiting = [n for n in known if n.metadata.name not in self.late and _vouched(n)]
        due_ns = [self.tick(self._deadline_ns(n)) for n in waiting]
        return min(_NEVER if self._due_ns is None else self._due_ns, *due_ns, _NEVER)

    def _pass(self, known: list[Node], touched: dict[str, None], now_ns: int) -> Change:
        statuses: dict[str, list[str]] = {}
        for node in known:
            name, observed = node.metadata.name, ready_status(node)
            current = observed
            if self._deadline_ns(node) <= now_ns:
                current = "Unknown"
                if name not in self.late and _vouched(node):
                    self.late[name] = touched[name] = None
                    if observed == "True":
                        self.fallen[name] = None
            if EXCLUDED not in node.metadata.labels:
                self.zones.of(node)
                statuses.setdefault(zone_key(node), []).append(current)
            if any(c.type == "Ready" for c in node.status.conditions):
                self._decide(node, observed, touched, now_ns)
        change = self.zones.judge(statuses, now_ns)
        if change is Change.ENTERED:
            for node in known:
                self._reachable(node.metadata.name)
                touched[node.metadata.name] = None
        elif change is Change.LEFT:
            for node in known:
                self._probe_ns[node.metadata.name] = now_ns
            self.late.clear()
        if change is Change.ENTERED:
            self.changed(now_ns)  # they wait for better times in their queues
        return change

    def _decide(self, node: Node, observed: str, touched: dict[str, None], now_ns: int) -> None:
        """Taint by the condition as it was before this pass (processTaintBaseEviction)."""
        name, key = node.metadata.name, _taint_key(observed)
        have = [t.key for t in node.spec.taints if t.effect == NO_EXECUTE]
        grant = self.granted.get(name)
        if not key:
            self._reachable(name)
            if grant is not None or NOT_READY in have or UNREACHABLE in have:
                touched[name] = None
        elif key in have:
            self.granted.setdefault(name, Grant(key, now_ns))
        elif (UNREACHABLE if key == NOT_READY else NOT_READY) in have:
            self.granted[name] = Grant(key, now_ns)
            touched[name] = None
        elif grant is None or now_ns - grant.at_ns >= self._period_ns:
            self.granted.pop(name, None)
            self.zones.enqueue(node)


_NEVER = 1 << 63


def _taint_key(status: str) -> str:
    """The taint of a Ready status; "" for a node that is Ready."""
    return {"False": NOT_READY, "Unknown": UNREACHABLE}.get(status, "")


def _vouched(node: Node) -> bool:
    """Whether a condition still says more than Unknown (or nothing was ever said)."""
    found = [c.status for c in node.status.conditions if c.type == "Ready"]
    return found != ["Unknown"]
