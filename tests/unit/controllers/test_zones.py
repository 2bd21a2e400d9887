"""Zones and the monitor: states, rates, and who is tainted when (pure)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api.times import NS, format_time
from podwire.api.views import Node
from podwire.controllers.config import ControllersConfig
from podwire.controllers.nodelifecycle.core import NOT_READY, UNREACHABLE
from podwire.controllers.nodelifecycle.monitor import Monitor
from podwire.controllers.nodelifecycle.zones import (
    EXCLUDED,
    Change,
    Limiter,
    Zones,
    ZoneState,
    zone_key,
    zone_state,
)

CONFIG = ControllersConfig()
START = 1_767_300_000 * NS


def node(
    name: str, status: str = "True", zone: str = "", taints: Sequence[str] = (), **labels: str
) -> Node:
    """A node; ``taints`` are keys with effect NoExecute."""
    found = {"topology.kubernetes.io/zone": zone} if zone else {}
    body = {
        "metadata": {"name": name, "uid": name, "labels": found | labels},
        "spec": {"taints": [{"key": key, "effect": "NoExecute"} for key in taints]},
        "status": {"conditions": [{"type": "Ready", "status": status}] if status else []},
    }
    return msgspec.convert(body, Node)


def test_the_zone_of_a_node_is_its_region_and_zone():
    """Upstream's key; the labels of old are read too; no label, no zone."""
    assert zone_key(node("a")) == ""
    assert zone_key(node("a", zone="z")) == ":\x00:z"
    old = {
        "failure-domain.beta.kubernetes.io/region": "r",
        "failure-domain.beta.kubernetes.io/zone": "z",
    }
    assert zone_key(node("a", **old)) == "r:\x00:z"


@pytest.mark.parametrize(
    ("ready", "lost", "state"),
    [
        (1, 0, ZoneState.NORMAL),
        (0, 1, ZoneState.FULL),
        (1, 2, ZoneState.NORMAL),  # two thirds, but two nodes only
        (2, 3, ZoneState.PARTIAL),
        (3, 3, ZoneState.NORMAL),  # 50 %
        (9, 11, ZoneState.PARTIAL),  # exactly 55 %
        (10, 12, ZoneState.NORMAL),  # 54.5 %
        (0, 9, ZoneState.FULL),
    ],
)
def test_a_zone_is_disrupted_by_share_and_number(ready, lost, state):
    """At least three nodes and 55 % not Ready; fully when nobody is Ready."""
    assert zone_state(["True"] * ready + ["Unknown"] * lost, 0.55) is state


def test_a_limiter_holds_one_token():
    """The first at once, then one in ten seconds, however long it waited."""
    limiter = Limiter(0.1)
    assert limiter.accept(START)
    assert not limiter.accept(START + 10 * NS - 1)
    assert limiter.accept(START + 60 * NS)
    assert not limiter.accept(START + 61 * NS)
    assert not Limiter(0.0).accept(START)


def test_another_rate_begins_empty_if_the_old_one_was_spent():
    """So that swapping rates is no way to a free token (SwapLimiter)."""
    assert Limiter(0.1).swapped(0.01, START).accept(START)
    assert not Limiter(0.0).swapped(0.1, START).accept(START)
    assert Limiter(0.0).swapped(0.1, START).accept(START + 10 * NS)


def zones_of(size: int, lost: int) -> tuple[Zones, int]:
    """One zone after a pass; all its lost nodes wait for their taint."""
    zones = Zones(CONFIG)
    for i in range(size):
        zones.of(node(f"n{i}"))
    for i in range(lost):
        zones.enqueue(node(f"n{i}"))
    zones.judge({"": ["True"] * (size - lost) + ["Unknown"] * lost}, START)
    return zones, START


@pytest.mark.parametrize(
    ("size", "lost", "in_100_s"), [(10, 4, 4), (50, 30, 0), (51, 31, 2), (100, 54, 11)]
)
def test_rates_depend_on_the_state_and_size_of_the_zone(size, lost, in_100_s):
    """0.1/s when normal; disrupted partially 0.01/s, or nothing unless it is large (> 50)."""
    zones, now = zones_of(size, lost)
    taken = [name for second in range(101) for name in zones.take(now + second * NS)]
    assert taken == [f"n{i}" for i in range(in_100_s)]


def test_a_zone_that_is_down_as_a_whole_is_evicted_at_the_normal_rate_unless_all_are():
    """Full disruption of one zone is believed, of all zones it is not."""
    zones = Zones(CONFIG)
    for name, zone in (("a", "za"), ("b", "zb")):
        zones.of(node(name, zone=zone))
    za, zb = zone_key(node("a", zone="za")), zone_key(node("b", zone="zb"))
    assert zones.judge({za: ["Unknown"], zb: ["True"]}, START) is Change.NONE
    assert zones.state(za) is ZoneState.FULL
    zones.enqueue(node("a", zone="za"))
    assert zones.take(START) == ["a"]
    assert zones.judge({za: ["Unknown"], zb: ["Unknown"]}, START) is Change.ENTERED
    zones.enqueue(node("b", zone="zb"))
    assert zones.take(START + 1000 * NS) == []
    assert zones.next_ns() is None
    assert zones.judge({za: ["Unknown"], zb: ["False"]}, START) is Change.NONE
    back = START + 2000 * NS
    assert zones.judge({za: ["True"], zb: ["Unknown"]}, back) is Change.LEFT
    assert zones.take(back) == []  # ten seconds for the others to return, too
    assert zones.next_ns() == back + 10 * NS
    assert zones.take(back + 10 * NS) == ["b"]


@given(
    st.lists(
        st.tuples(st.integers(0, 30_000), st.sampled_from("abcde"), st.sampled_from("xyz"),
                  st.booleans(), st.lists(st.integers(0, 4), max_size=5)),
        max_size=60,
    )
)  # fmt: skip
def test_no_zone_is_ever_evicted_faster_than_its_rate(steps):
    """Whatever falls silent and returns when, 10 s lie between two taints in one zone."""
    zones, now = Zones(CONFIG), START
    last: dict[str, int] = {}
    for wait_ms, name, zone, enqueue, down in steps:
        now += wait_ms * 1_000_000
        about = node(name + zone, zone=zone)
        zones.of(about)
        if enqueue:
            zones.enqueue(about)
        else:
            zones.dequeue(about.metadata.name)
        statuses = {key: ["Unknown" if i in down else "True" for i in range(5)]
                    for key in zones.by_key}  # fmt: skip
        zones.judge(statuses, now)
        for taken in zones.take(now):
            where = taken[1]
            assert now - last.get(where, 0) >= 10 * NS
            last[where] = now


# ---------------------------------------------------------------- the monitor


class Watched:
    """A monitor and the nodes it sees; taints are put as soon as they are granted."""

    def __init__(self, *nodes: Node) -> None:
        self.now = START
        self.monitor = Monitor(CONFIG, START)
        self.nodes = {n.metadata.name: n for n in nodes}
        for n in nodes:
            self.monitor.added(n, START)
        self.changes: list[Change] = []
        self.woken = 0

    def heard(self, *names: str) -> None:
        for name in names:
            self.monitor.heard(name, self.now)

    def put(self, fresh: Node) -> None:
        """The API changed a node."""
        self.nodes[fresh.metadata.name] = fresh
        self.monitor.changed(self.now)

    def run(self, until_s: float) -> None:
        """Wake the monitor whenever it wants to be, and write what it decides."""
        until = START + round(until_s * NS)
        while (due := self.monitor.next_ns(self.nodes)) is not None and due <= until:
            self.now = max(self.now, due)
            self.woken += 1
            touched, change = self.monitor.step(self.nodes, self.now)
            self.changes += [change] if change is not Change.NONE else []
            for name in touched:
                self._write(name)
        self.now = until

    def _write(self, name: str) -> None:
        about = self.nodes[name]
        status = next((c.status for c in about.status.conditions), "")
        if name in self.monitor.late:
            status = "Unknown"
        grant = self.monitor.granted.get(name)
        taints = [grant.key] if grant else []
        self.put(node(name, status, "", taints, **about.metadata.labels))

    def status(self, name: str) -> str:
        return next((c.status for c in self.nodes[name].status.conditions), "")

    def tainted(self) -> dict[str, str]:
        return {name: n.spec.taints[0].key for name, n in self.nodes.items() if n.spec.taints}


def test_a_silent_node_is_unknown_after_50_s_and_tainted_by_the_next_pass():
    """Passes fall on ticks of 5 s."""
    w = Watched(node("a"), node("b"))
    w.run(12)
    w.heard("a", "b")  # noticed at 15
    w.run(40)
    w.heard("b")
    w.run(64.9)
    assert w.status("a") == "True"
    w.run(65)
    assert w.status("a") == "Unknown"
    assert list(w.monitor.fallen) == ["a"]
    assert w.tainted() == {}
    w.run(70)
    assert w.tainted() == {"a": UNREACHABLE}


def test_nothing_happens_while_nothing_happens():
    """Heartbeats alone cost one wake-up in a grace period, not one in a tick."""
    w = Watched(node("a"))
    w.run(5)
    before = w.woken
    for second in range(10, 610, 10):
        w.run(second)
        w.heard("a")
    assert w.status("a") == "True"
    assert w.woken - before <= 15


def test_a_node_that_never_reported_has_60_s():
    """node-startup-grace-period."""
    w = Watched(node("a", status=""), node("b"))
    w.run(55)
    assert (w.status("a"), w.status("b")) == ("", "Unknown")
    w.run(60)
    assert w.status("a") == "Unknown"
    assert list(w.monitor.fallen) == ["b"]


def test_a_taint_follows_the_condition_without_waiting_for_a_token():
    """not-ready becomes unreachable at once; a Ready node loses it with the next pass."""
    w = Watched(node("a", "False"), node("b", "False"), node("c"))
    w.run(5)
    assert w.tainted() == {"a": NOT_READY}
    w.put(node("a", "Unknown", taints=[NOT_READY]))
    w.run(10)
    assert w.tainted() == {"a": UNREACHABLE}
    w.put(node("a", "True", taints=[UNREACHABLE]))
    w.run(14.9)
    assert w.tainted() == {"a": UNREACHABLE}
    w.run(15)
    assert w.tainted() == {"b": NOT_READY}


def test_a_taint_that_somebody_took_off_comes_back_by_the_queue():
    """At the zone's rate, like a first one."""
    w = Watched(node("a", "Unknown"), node("b"))
    w.run(30)
    assert w.tainted() == {"a": UNREACHABLE}
    w.put(node("a", "Unknown"))
    w.run(35)
    assert w.tainted() == {"a": UNREACHABLE}


def test_full_disruption_takes_taints_off_and_its_end_gives_everybody_time():
    """The last node falls silent: no evictions. One returns: the others' grace begins anew."""
    w = Watched(*(node(name) for name in "abc"))
    w.heard("a", "b", "c")
    w.run(30)
    w.heard("b", "c")
    w.run(60)
    assert w.tainted() == {"a": UNREACHABLE}
    w.run(90)
    assert w.changes == [Change.ENTERED]
    w.run(600)
    assert w.tainted() == {}
    w.heard("a")
    w.put(node("a"))
    w.run(605)
    assert w.changes == [Change.ENTERED, Change.LEFT]
    w.run(614)
    assert w.tainted() == {}
    w.run(615)
    assert w.tainted() == {"b": UNREACHABLE}
    w.run(625)
    assert w.tainted() == {"b": UNREACHABLE, "c": UNREACHABLE}


def test_an_excluded_node_counts_in_no_zone():
    """node.kubernetes.io/exclude-disruption: all others are down, so the control plane waits."""
    w = Watched(node("a", **{EXCLUDED: ""}), node("b", "Unknown"))
    w.run(20)
    assert w.changes == [Change.ENTERED]
    assert w.tainted() == {}


def test_a_node_that_is_gone_still_costs_its_zone_a_token():
    """As upstream: its turn comes and passes."""
    silent = [node(name, "Unknown") for name in "abc"]
    w = Watched(*silent, *(node(name) for name in "defg"))
    w.run(5)
    del w.nodes["b"]
    w.monitor.removed("b", w.now)
    w.run(24)
    assert w.tainted() == {"a": UNREACHABLE}
    w.run(25)
    assert w.tainted() == {"a": UNREACHABLE, "c": UNREACHABLE}


def test_a_leave_names_its_time():
    """Grants tell when they were given (format of the API's times)."""
    w = Watched(node("a", "Unknown"), node("b"))
    w.run(5)
    assert format_time(w.monitor.granted["a"].at_ns) == format_time(START + 5 * NS)
