"""What nodes of one process share changes nothing: each is told what it would be told alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.api.views import Service
from podwire.dataplane.ebpf import text as ebpf
from podwire.dataplane.ebpf.maps import Ebpf
from podwire.kube_proxy.config import Config
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.feed import Feed
from podwire.kube_proxy.model import NodeFacts
from podwire.kube_proxy.modes import MODES
from podwire.kube_proxy.table import NOTHING, Draft, Table
from tests.unit.kube_proxy.conftest import endpoints, service

NAMES = ("a", "b", "c")
NODES = (
    NodeFacts("node-1", "zone-a", ("192.168.0.11",)),
    NodeFacts("node-2", "zone-b", ("192.168.0.12",)),
    NodeFacts("node-3", "zone-b", ("10.99.0.1",)),
)
CONFIG = Config(cluster_cidr="10.244.0.0/16")
SPEC = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Cluster", "Local"]),
        "lb": st.sampled_from([(), ("1.2.3.4",)]),
        "loadBalancerSourceRanges": st.sampled_from([[], ["192.168.0.0/24"]]),
    }
)
HINTS = st.sampled_from(
    [None, {"forZones": [{"name": "zone-b"}]}, {"forNodes": [{"name": "node-3"}]}]
)
ENDS = st.lists(
    st.builds(
        lambda i, node, ready, hints: {
            "addresses": [f"10.244.1.{i}"], "nodeName": node,
            "conditions": {"ready": ready, "serving": True}, "hints": hints,
        },
        st.integers(1, 4), st.sampled_from(["node-1", "node-2", "node-9"]), st.booleans(), HINTS,
    ),
    max_size=4,
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("service"), st.sampled_from(NAMES), SPEC),
    st.tuples(st.just("slice"), st.sampled_from(NAMES), ENDS),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("sync"), st.integers(0, 2), st.booleans()),
)


def proxiers(mode: str, shared: list[Shared]) -> list[Proxier]:
    chosen = MODES[mode]
    return [
        Proxier(chosen, chosen.settings(CONFIG, node, "ipv4"), node, each)
        for node, each in zip(NODES, shared, strict=True)
    ]


def versioned(item: Any, number: int) -> Any:
    meta = msgspec.structs.replace(item.metadata, resource_version=str(number))
    return msgspec.structs.replace(item, metadata=meta)


def change(one: Proxier, step: tuple[str, Any, Any], number: int) -> None:
    """The objects are each node's own: equal revisions are what they have in common."""
    what, name, value = step
    key = f"default/{name}"
    if what == "service":
        at = NAMES.index(name)
        port = 0 if value["type"] == "ClusterIP" else 30000 + at
        new = service(name, f"10.96.0.{at + 1}", [("", 80, port, "UDP")], **value)
        one.service(one.services.get(key), versioned(new, number))
    elif what == "slice":
        old = one.slices.get(key, {}).get(f"{name}-x")
        new_slice = endpoints(name, *value, ports=[("", 8080, "UDP")])
        one.slice(old, versioned(new_slice, number))
    elif key in one.services:
        one.service(one.services[key], None)


@pytest.mark.parametrize("mode", list(MODES))
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=16))
def test_a_node_that_shares_plans_what_it_would_plan_alone(mode, steps):
    """Any objects, any lag between nodes, full syncs and partial ones, in every mode."""
    shared = Shared()
    together = proxiers(mode, [shared] * 3)
    alone = proxiers(mode, [Shared() for _ in NODES])
    ends = [("sync", i, False) for i in range(3)]
    for number, step in enumerate((*steps, *ends), 1):
        if step[0] != "sync":
            for one in (*together, *alone):
                change(one, step, number)
            continue
        pair = together[step[1]], alone[step[1]]
        full = step[2] or pair[1].programmed is None
        plans = [one.plan(full=full, now_ns=number) for one in pair]
        told = [plan and (plan.commands, plan.udp, plan.changes, plan.gauges) for plan in plans]
        assert told[0] == told[1]
        for one, plan in zip(pair, plans, strict=True):
            if plan is not None:
                one.committed(plan)


def test_nodes_without_endpoints_share_the_rendering_of_a_local_policy():
    """What a Service with a Local policy means to them is one text; its own node has another."""
    shared = Shared()
    three = proxiers("iptables", [shared] * 3)
    web = service("web", "10.96.0.9", internalTrafficPolicy="Local")
    ends = endpoints("web", "10.244.1.1@node-1")
    for one in three:
        one.service(None, web)
        one.slice(None, ends)
    plans = [one.plan(full=True) for one in three]
    first, second, third = (plan.programmed.account.own["default/web"] for plan in plans)
    assert second is third
    assert first != second


def feed_of(shared: Shared) -> tuple[Feed[Service], list[Any]]:
    told: list[Any] = []
    feed = Feed(shared, kinds.SERVICE, lambda table: told.append(list(table)),
                lambda old, new: told.append((old and old.key, new and new.key)))  # fmt: skip
    return feed, told


def test_nodes_that_read_one_after_the_other_hold_one_table():
    """The second one's own views of the same revisions are given up for the first one's; events
    lead both to the next table; a relist tells only what differs.
    """
    shared = Shared()
    states = [[versioned(service(n, f"10.96.0.{i}"), i) for i, n in enumerate(NAMES)]
              for _ in range(2)]  # fmt: skip
    (one, told), (two, _) = feed_of(shared), feed_of(shared)
    one.replace(states[0], "9")
    two.replace(states[1], "9")
    assert one.table is two.table
    assert told == [["default/a", "default/b", "default/c"]]
    for feed in (one, two):
        feed.apply("MODIFIED", versioned(service("a", "10.96.0.77"), 10))
        feed.apply("DELETED", states[0][1])
        feed.apply("DELETED", states[0][1])
    assert one.table is two.table
    assert told[1:] == [("default/a", "default/a"), ("default/b", None)]
    one.replace([states[0][0], states[0][1]], "11")
    assert told[3:] == [("default/c", None), ("default/a", "default/a"), (None, "default/b")]
    late, _ = feed_of(shared)
    late.replace([states[1][0], states[1][1]], "11")
    assert late.table is one.table


OPS = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 3)), max_size=200)


@given(OPS, st.booleans())
def test_a_table_is_a_dict_that_keeps_its_past(ops, drafted):
    """Every version holds what it held when it was made; keys come in order."""
    table: Table[int] = NOTHING
    model: dict[str, int] = {}
    draft = Draft(table)
    past = []
    for number, value in ops:
        key = f"k{number}"
        model = {k: v for k, v in model.items() if k != key}
        if value:
            model[key] = value
        if drafted:
            draft.put(key, value or None)
            assert draft.get(key) == model.get(key)
        else:
            table = table.having(key, value) if value else table.without(key)
        past.append((table, dict(model)))
    if drafted:
        past = [(draft.done(), model)]
    for kept, held in past:
        assert list(kept.items()) == sorted(held.items())
        assert len(kept) == len(held)


def test_kernels_of_equal_maps_share_what_a_text_makes_of_them():
    """The same text on equal maps gives the very same maps; a kernel whose maps differ reads it;
    what a text does not touch is never copied.
    """
    first = "update BE: ID=1 ADDR=10.0.0.1:80/TCP STATE=active\n"
    one, two = ebpf.apply(Ebpf(), first), ebpf.apply(Ebpf(), first)
    assert one.backends is two.backends
    one = ebpf.apply(one, "update LXC: IP=10.0.0.1\n")
    more = "update BE: ID=2 ADDR=10.0.0.2:80/TCP STATE=active\n"
    after, beside = ebpf.apply(one, more), ebpf.apply(two, more)
    assert after.backends is beside.backends
    assert (list(after.backends), list(one.backends)) == ([1, 2], [1])
    assert after.endpoints is one.endpoints
    assert not beside.endpoints
    other = ebpf.apply(ebpf.apply(Ebpf(), first.replace("ID=1", "ID=7")), more)
    assert list(other.backends) == [7, 2]
