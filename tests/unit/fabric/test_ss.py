"""ss over rows: states, filters, families, in the words of iproute2."""

from __future__ import annotations

import pytest

from podwire.fabric import netstat, ss
from podwire.fabric.tables import Row

ROWS = [
    Row("udp", "UNCONN", 0, 0, "", 53),
    Row("tcp", "LISTEN", 0, 128, "0.0.0.0", 80),
    Row("tcp", "ESTAB", 0, 7, "10.0.0.1", 80, "10.0.0.9", 40001),
    Row("tcp", "TIME-WAIT", 0, 0, "10.0.0.1", 40002, "10.1.0.1", 443),
]


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        ("-tnH", [80, 40002]),
        ("-tanH", [80, 80, 40002]),
        ("-tlnH", [80]),
        ("-uanH", [53]),
        ("-tnH state established", [80]),
        ("-tnH state time-wait", [40002]),
        ("-tnH exclude time-wait", [80, 80]),
        ("-tanH sport = :80", [80, 80]),
        ("-tanH dport = :https", [40002]),
        ("-tanH sport gt :1000", [40002]),
        ("-tanH dst 10.1.0.0/16", [40002]),
        ("-tanH src 10.0.0.1:80", [80]),
        ("-tanH not dport = :443 and ( sport = :80 or sport = :81 )", [80, 80]),
        ("-tanH -6", []),
        ("-uanH -6", [53]),
    ],
)
def test_options_and_filters_choose_sockets(words: str, ports: list[int]) -> None:
    done = ss.run(ROWS, words.split())
    assert done.code == 0
    local = [line.split()[-2].rpartition(":")[2] for line in done.stdout.splitlines()]
    assert [int(port) for port in local] == ports


@pytest.mark.parametrize(
    "words", ["-i", "--kill", "-t autobound", "-t state nope", "-t sport = :x"]
)
def test_what_is_not_understood_is_said(words: str) -> None:
    done = ss.run(ROWS, words.split())
    assert (done.code, done.stdout) == (255, "")
    assert done.stderr.startswith("ss: ")


def test_netstat_names_states_its_own_way_and_says_what_it_lacks() -> None:
    text = netstat.run(ROWS, ["-tan"], busybox=False).stdout
    assert "10.0.0.1:80             10.0.0.9:40001          ESTABLISHED" in text
    assert netstat.run(ROWS, ["-i"], busybox=False).stderr.startswith("netstat: not modelled: ")
