"""eBPF maps, Maglev and the programs that read them."""

from __future__ import annotations

from itertools import groupby

import pytest

from podwire.dataplane.commands import CommandError, EbpfMapUpdate
from podwire.dataplane.ebpf import maglev
from podwire.dataplane.ebpf.murmur3 import hash128
from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng


def test_maglev_gives_the_table_that_upstream_expects():
    """Cilium's TestReproducible: four weighted backends in a table of 251 slots."""
    ids = {1: (0, 2), 3: (1, 13), 4: (2, 111), 5: (3, 10)}
    backends = tuple((maglev.hash_text(f"0.0.0.{n}", n, "tcp"), i, w) for n, (i, w) in ids.items())
    table = maglev.table(backends, 251)
    runs = [f"{i}({len(list(g))})" for i, g in groupby(table)]
    assert ",".join(runs[:20]) == (
        "2(5),3(1),2(3),1(1),2(2),0(1),2(1),3(1),2(1),3(1),2(1),1(1),2(7),1(1),2(14),3(1),2(1),"
        "1(2),2(12),3(1)"
    )
    assert ",".join(runs[-4:]) == "3(1),2(2),1(1),2(7)"


def test_equal_backends_share_maglev_evenly():
    """Cilium's nodeport-maglev.txtar: MAGLEV INNER=[1(256), 2(255), 3(255), 4(255)]."""
    backends = tuple((maglev.hash_text(f"10.244.1.{n}", 80, "tcp"), n, 1) for n in range(1, 5))
    table = maglev.table(backends, 1021)
    assert [table.count(n) for n in range(1, 5)] == [256, 255, 255, 255]


def test_murmur3_of_nothing_is_zero():
    """The reference implementation's answer for the empty input and seed 0."""
    assert hash128(b"", 0) == (0, 0)


def test_a_bad_line_refuses_all_lines():
    """Nothing is half applied, and the message names the line."""
    kernel = Kernel("n", SeededRng(1))
    before = kernel.state_hash()
    text = "update REV: ID=1 ADDR=10.0.0.1:80\nupdate SVC: ID=x ADDR=10.0.0.1:80/TCP SLOT=1\n"
    with pytest.raises(CommandError, match="line 2"):
        kernel.execute(EbpfMapUpdate(text=text), 0)
    assert kernel.state_hash() == before
