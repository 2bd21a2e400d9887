"""Dumps of Linux are loaded, and traces through them agree with what Linux answers.

Needs what the oracle needs (test_oracle.py): root, network namespaces, VXLAN, br_netfilter.
"""

import pytest

from tests.oracle.dumped import compare
from tests.oracle.proxying import MODES
from tests.oracle.run import pool
from tests.system.test_oracle import needs_linux

SEEDS = range(1, 9)


@pytest.mark.parametrize("mode", MODES)
def test_traces_through_dumps_agree_with_linux(mode):
    """Random clusters: verdict, possible backends and seen source of every question."""
    needs_linux()
    with pool(2) as processes:
        results = list(processes.map(compare, SEEDS, [mode] * len(SEEDS)))
    assert [line for wrong, _, _ in results for line in wrong] == []
    assert sum(asked for _, asked, _ in results) > 10 * len(SEEDS)
