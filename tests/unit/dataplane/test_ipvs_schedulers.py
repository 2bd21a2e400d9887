"""The schedulers, each as Linux' own source lets it choose."""

import itertools

import pytest

from podwire.dataplane.ipvs import change
from podwire.dataplane.ipvs.model import Address, Key
from podwire.dataplane.ipvs.schedulers import HASHING, MAGLEV_SIZE, SCHEDULERS, Ask
from podwire.dataplane.ipvs.siphash import hsiphash_u32
from podwire.dataplane.ipvs.table import Ipvs

KEY = Key("tcp", "10.96.0.10", 80)
A, B, C = (f"10.0.0.{n}" for n in (1, 2, 3))
SECOND = 1_000_000_000


def service(scheduler, weights, flags=""):
    """Servers A, B, C ... with weights, added in this order: the last is first in the list."""
    ipvs = Ipvs()
    flags = f" -b {flags}" if flags else ""
    lines = [f"-A -t 10.96.0.10:80 -s {scheduler}{flags}"]
    lines += [
        f"-a -t 10.96.0.10:80 -r 10.0.0.{i}:80 -m -w {weight}"
        for i, weight in enumerate(weights, start=1)
    ]
    change.restore(ipvs, "\n".join(lines))
    return ipvs, ipvs.own(KEY)


def choose(made, times=1, client="192.168.0.1", port=1024, virtual="10.96.0.10", now=0):
    found = []
    for _ in range(times):
        dest = SCHEDULERS[made.scheduler](made, Ask(client, port, virtual, now))
        found.append(dest.at.ip.rsplit(".", 1)[1] if dest is not None else "")
    return "".join(found) or None


def load(made, **active):
    """Active and inactive connections: ``load(made, a=(2, 0))``."""
    for name, (busy, idle) in active.items():
        dest = made.dest(Address({"a": A, "b": B, "c": C}[name], 80))
        dest.active, dest.inactive = busy, idle


def test_round_robin_goes_through_the_list_newest_first_and_skips_weight_zero():
    """rr knows weights only as yes and no."""
    _, made = service("rr", [1, 5, 1])
    assert choose(made, 7) == "3213213"
    _, made = service("rr", [1, 0, 1])
    assert choose(made, 4) == "3131"


def test_round_robin_goes_on_behind_a_server_that_was_removed():
    """The list's mark moves to the one before (ip_vs_rr_del_dest)."""
    ipvs, made = service("rr", [1, 1, 1])
    assert choose(made, 2) == "32"
    change.run(ipvs, ["-d", "-t", "10.96.0.10:80", "-r", "10.0.0.2:80"])
    assert choose(ipvs.own(KEY), 3) == "131"


def test_weighted_round_robin_makes_passes_with_a_falling_mark():
    """Weights 4, 3, 2 of A, B, C: nine connections, shared 4:3:2.

    The servers were added one by one, so the first pass is the last one (mark 1)."""
    _, made = service("wrr", [4, 3, 2])
    assert choose(made, 9) == "321121321"
    assert choose(made, 9) == "321121321"


def test_weights_with_a_common_divisor_fall_by_it():
    """wrr steps by the greatest common divisor: 20, 10 as 2, 1."""
    _, made = service("wrr", [20, 10])
    assert choose(made, 6) == "211211"


@pytest.mark.parametrize(
    ("scheduler", "weights", "loads", "chosen"),
    [
        ("lc", [1, 1, 1], {"a": (1, 0), "b": (0, 255), "c": (1, 1)}, "2"),
        ("lc", [1, 9, 1], {"a": (2, 0), "b": (3, 0), "c": (2, 0)}, "3"),
        ("wlc", [1, 9, 1], {"a": (2, 0), "b": (3, 0), "c": (2, 0)}, "2"),
        ("wlc", [1, 1, 1], {}, "3"),
        ("sed", [1, 2, 3], {}, "3"),
        ("sed", [1, 2, 3], {"c": (2, 0)}, "2"),
        ("nq", [1, 2, 3], {"c": (1, 0)}, "2"),
        ("nq", [1, 2, 9], {"a": (1, 0), "b": (1, 0), "c": (1, 0)}, "3"),
        ("fo", [1, 7, 3], {"b": (900, 0)}, "2"),
        ("ovf", [1, 7, 3], {"b": (7, 0)}, "3"),
        ("wlc", [0, 0, 0], {}, None),
    ],
)
def test_connections_and_weights_decide(scheduler, weights, loads, chosen):
    """An active connection counts 256 inactive ones; of equals the first in the list."""
    _, made = service(scheduler, weights)
    load(made, **loads)
    assert choose(made) == chosen


def test_thresholds_stop_new_connections_until_load_falls():
    """-x 4: at four connections no more, until fewer than three quarters are left."""
    ipvs, made = service("wlc", [1, 1])
    for ip in (A, B):
        change.run(ipvs, ["-e", "-t", "10.96.0.10:80", "-r", f"{ip}:80", "-m", "-x", "4"])
    made = ipvs.own(KEY)
    load(made, a=(4, 0), b=(1, 0))
    for dest in made.dests:
        dest.recount()
    assert choose(made) == "2"
    load(made, a=(3, 0), b=(9, 0))
    for dest in made.dests:
        dest.recount()
    assert choose(made) is None
    load(made, a=(2, 0))
    made.dest(Address(A, 80)).recount()
    assert choose(made) == "1"


def test_source_hashing_gives_a_client_always_the_same_server():
    """256 buckets dealt out by weight; the hash of 192.168.0.1 is hash_32's."""
    _, made = service("sh", [1, 1, 1])
    bucket = ((0xC0A80001 * 0x61C88647) & 0xFFFFFFFF) >> 24
    assert choose(made, 3) == "321"[bucket % 3] * 3
    seen = {choose(made, client=f"192.168.{i}.{j}") for i in range(4) for j in range(250)}
    assert seen == {"1", "2", "3"}


def test_source_hashing_falls_back_only_with_its_flag():
    """A quiesced server's clients are refused, or (sh-fallback) go elsewhere."""
    for flags, answer in (("", None), ("sh-fallback", "2")):
        ipvs, made = service("sh", [1, 1], flags)
        client = next(
            f"10.9.0.{i}" for i in range(250) if choose(made, client=f"10.9.0.{i}") == "1"
        )
        change.run(ipvs, ["-e", "-t", "10.96.0.10:80", "-r", f"{A}:80", "-m", "-w", "0"])
        assert choose(ipvs.own(KEY), client=client) == answer


def test_ports_count_in_hashing_with_their_flag():
    """sh-port and mh-port spread one client's connections."""
    for scheduler in ("sh", "mh"):
        _, made = service(scheduler, [1, 1, 1], f"{scheduler}-port")
        assert len({choose(made, port=port) for port in range(1024, 1224)}) == 3
        _, made = service(scheduler, [1, 1, 1])
        assert len({choose(made, port=port) for port in range(1024, 1224)}) == 1


def test_destination_hashing_knows_no_weights():
    """dh deals out its buckets one by one."""
    _, made = service("dh", [1, 9])
    virtuals = [f"10.96.{i}.{j}" for i in range(8) for j in range(250)]
    chosen = [choose(made, virtual=virtual) for virtual in virtuals]
    assert 0.45 < chosen.count("1") / len(chosen) < 0.55


def test_siphash_gives_the_reference_values():
    """SipHash-1-3 of four bytes, computed from the reference implementation's rounds."""
    values = [hsiphash_u32(word, 2654435761) for word in range(64)]
    assert len(set(values)) == 64
    assert all(0 <= value < 1 << 32 for value in values)


def test_maglev_spreads_evenly_and_moves_few_clients():
    """Each of five servers has a fifth of the table; removing one moves about its share only."""
    ipvs, made = service("mh", [1] * 5)
    clients = [f"10.{i}.{j}.7" for i in range(10) for j in range(100)]
    before = [choose(made, client=client) for client in clients]
    table = made.memory.table
    counts = [table.count(dest.at) for dest in made.dests]
    assert sum(counts) == MAGLEV_SIZE
    assert max(counts) - min(counts) <= 1
    change.run(ipvs, ["-d", "-t", "10.96.0.10:80", "-r", "10.0.0.4:80"])
    after = [choose(ipvs.own(KEY), client=client) for client in clients]
    moved = sum(a != b for a, b in zip(before, after, strict=True) if a != "4")
    assert "4" not in after
    assert moved / len(clients) < 0.1


def test_maglev_counts_weights_and_falls_back_with_its_flag():
    """Three to one of the table; a server at weight 0 keeps its places."""
    _, made = service("mh", [3, 1])
    choose(made)
    share = made.memory.table.count(Address(A, 80)) / MAGLEV_SIZE
    assert 0.74 < share < 0.76
    for flags, answer in (("", None), ("mh-fallback", "2")):
        ipvs, made = service("mh", [1, 1], flags)
        client = next(
            f"10.9.0.{i}" for i in range(250) if choose(made, client=f"10.9.0.{i}") == "1"
        )
        change.run(ipvs, ["-e", "-t", "10.96.0.10:80", "-r", f"{A}:80", "-m", "-w", "0"])
        assert choose(ipvs.own(KEY), client=client) == answer


def test_locality_keeps_a_destination_on_its_server_until_that_is_crowded():
    """lblc: stays, although another is idle; moves when more than its weight and one is free."""
    _, made = service("lblc", [2, 2])
    assert choose(made) == "2"
    load(made, b=(2, 0))
    assert choose(made) == "2"
    load(made, b=(3, 0))
    assert choose(made) == "1"
    assert choose(made) == "1"


def test_locality_with_replication_grows_a_set_and_shrinks_it_in_time():
    """lblcr: under load another server joins; a day later the busiest leaves."""
    _, made = service("lblcr", [2, 2])
    assert choose(made) == "2"
    load(made, b=(3, 0))
    assert choose(made) == "1"
    assert len(made.memory.kept["10.96.0.10"][0]) == 2
    for hours in range(1, 25):
        choose(made, now=hours * 3600 * SECOND)
    choose(made, now=24 * 3600 * SECOND + 1)
    assert [at.ip for at in made.memory.kept["10.96.0.10"][0]] == [A]


def test_no_scheduler_gives_a_server_without_weight():
    """Whatever the state, a quiesced server gets no new connection."""
    for scheduler, weights in itertools.product(SCHEDULERS, ([0, 1], [1, 0], [0, 0])):
        _, made = service(scheduler, weights)
        for i in range(40):
            got = choose(made, client=f"10.1.0.{i}", virtual=f"10.96.1.{i}")
            assert got is None or weights[int(got) - 1]
            assert got or scheduler in HASHING or not any(weights)
