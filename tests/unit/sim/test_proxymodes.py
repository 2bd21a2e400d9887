"""Proxy modes side by side: counted by hand, deterministic, refused when nonsense."""

import pytest

from podwire.dataplane.cost import Cost
from podwire.dataplane.netfilter import hooks, interpret
from podwire.sim.proxymodes import Asked, compare


def rows(*services, **asked):
    """By mode and number of Services."""
    return {(row.mode, row.services): row for row in compare(Asked(services=services, **asked))}


@pytest.fixture(scope="module")
def table():
    return rows(4, 40)


def test_iptables_walks_through_the_services_and_the_others_do_not(table):
    """36 Services more are 36 rules more for the last of them; half for the one in the middle."""
    few, many = table["iptables", 4].first_packet, table["iptables", 40].first_packet
    grown = many.most.rules_traversed - few.most.rules_traversed
    assert 36 - 5 < grown < 36 + 5, "which endpoint was drawn is up to five rules"
    assert many.most.rules_traversed - many.median.rules_traversed > 10
    for mode in ("ipvs", "nftables", "ebpf"):
        assert table[mode, 4].first_packet == table[mode, 40].first_packet
        assert table[mode, 40].first_packet.median == table[mode, 40].first_packet.most


def test_one_endpoint_leaves_nothing_to_draw():
    """Then the account is exact: n Services before the last are n rules."""
    few, many = rows(3, endpoints=2, modes=("iptables",)), rows(9, endpoints=1, modes=("iptables",))
    alone = rows(3, endpoints=1, modes=("iptables",))
    most = many["iptables", 9].first_packet.most.rules_traversed
    assert most - alone["iptables", 3].first_packet.most.rules_traversed == 6
    assert few["iptables", 3].kernel.rules > alone["iptables", 3].kernel.rules


def test_established_packets_pay_the_same_whatever_the_number_of_services(table):
    """Conntrack (or the socket) knows where they go."""
    for mode in ("iptables", "ipvs", "nftables", "ebpf"):
        small, large = table[mode, 4], table[mode, 40]
        assert small.established_packet == large.established_packet
        assert large.established_packet.most.latency_ns < large.first_packet.median.latency_ns
    assert table["ebpf", 40].established_packet.median == Cost(lookups=2, latency_ns=24)


def test_kernels_hold_what_each_mode_writes(table):
    """Per Service of five endpoints: 17 rules; a virtual and five real servers; 12 rules and 7
    elements; twelve map entries.
    """
    grown = {
        mode: [
            getattr(table[mode, 40].kernel, name) - getattr(table[mode, 4].kernel, name)
            for name in ("rules", "elements", "virtual_servers", "real_servers")
        ]
        for mode in ("iptables", "ipvs", "nftables", "ebpf")
    }
    assert grown == {
        "iptables": [36 * 17, 0, 0, 0],
        "ipvs": [0, 36 * 2, 36, 36 * 5],
        "nftables": [36 * 12, 36 * 7, 0, 0],
        "ebpf": [0, 36 * 12, 0, 0],
    }


def test_iptables_writes_its_services_again_for_every_change(table):
    """The others write the change only; every mode's full sync grows with the Services."""
    for mode in ("iptables", "ipvs", "nftables", "ebpf"):
        small, large = table[mode, 4], table[mode, 40]
        again = large.endpoint_change_s > small.endpoint_change_s
        assert again == (mode == "iptables")
        assert large.full_sync_s > small.full_sync_s
        assert large.text_bytes > 3 * small.text_bytes


def test_the_table_is_that_of_the_plain_interpreter(table, monkeypatch):
    """With every rule really tried, the same numbers; and the same again for the same seed."""
    monkeypatch.setattr(hooks.program, "walk", interpret.walk)
    assert rows(4, 40) == table


def test_another_seed_draws_other_endpoints():
    """Of 40 Services, the sum of what the middle and the last cost moves."""
    seen = {
        (row.first_packet.median, row.first_packet.most)
        for seed in range(6)
        for row in rows(40, modes=("iptables",), seed=seed).values()
    }
    assert len(seen) > 1


def test_one_endpoint_less_may_be_none():
    """Services of one endpoint: the change leaves none, in every mode."""
    for row in rows(3, endpoints=1).values():
        assert row.endpoint_change_s > 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"services": (0,)}, "services: 0 is not between 1 and 100000"),
        ({"services": (100_001,)}, "services: 100001 is not"),
        ({"endpoints": 0}, "endpoints: 0 is not between 1 and 1000"),
        ({"services": (100_000,), "endpoints": 6}, "more than 500000 together"),
        ({"modes": ("userspace",)}, "'userspace' is not one of iptables, nftables, ipvs, ebpf"),
        ({"modes": ()}, "nothing is asked for"),
    ],
)
def test_what_no_cluster_has_is_refused(asked, told):
    """With the field and what would do."""
    with pytest.raises(ValueError, match=told):
        Asked(**asked)
