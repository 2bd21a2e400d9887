"""The oracle: random clusters in the model and in Linux namespaces give the same answers.

Needs root (network namespaces), iproute2, iptables and a kernel with VXLAN and br_netfilter.
Skipped elsewhere, unless PODWIRE_SYSTEM=required says that this machine must be able (CI does).
"""

import functools
import os
import subprocess
import sys

import pytest

from tests.oracle.generate import generate
from tests.oracle.judge import judge
from tests.oracle.live import Recorded
from tests.oracle.mutations import MUTATIONS
from tests.oracle.proxying import MODES
from tests.oracle.report import render
from tests.oracle.run import many, pool
from tests.oracle.tracing import compare

SEEDS = range(1, 26)
WORKERS = 2 * (os.cpu_count() or 1)
"""They mostly wait for answers that never come."""


@functools.cache
def inability():
    """Why this machine cannot play Linux; "" when it can."""
    words = [sys.executable, "-m", "tests.oracle.able"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()[-1]


def needs_linux():
    """Skip, or fail where the machine is required to be able."""
    if inability() and os.environ.get("PODWIRE_SYSTEM") == "required":
        pytest.fail(f"required here: {inability()}")
    if inability():
        pytest.skip(inability())


@pytest.fixture(scope="module", params=MODES)
def judged(request):
    """(mode, results of all seeds)."""
    needs_linux()
    return request.param, list(many(SEEDS, request.param, WORKERS))


def test_model_and_linux_agree_on_every_answer(judged):
    """Verdicts, backends, shares and seen sources, in 25 clusters."""
    mode, results = judged
    differing = [result for result in results if result.mismatch is not None]
    assert not differing, render(generate(differing[0].seed, mode=mode), differing[0].mismatch)
    assert sum(result.questions for result in results) > 100 * len(results)


def test_every_class_of_rules_that_the_model_lacks_is_noticed(judged):
    """Judged by what Linux answered before; a mutation that no seed notices fails."""
    mode, results = judged
    unnoticed = [
        name
        for name, mutation in MUTATIONS[mode].items()
        if not any(
            judge(generate(result.seed, mode=mode), Recorded(result.recording), mutation)
            for result in results
        )
    ]
    assert not unnoticed


def test_what_was_written_down_is_judged_as_it_was(judged):
    """Replays agree, so that a mutation is noticed for its own sake."""
    mode, results = judged
    for result in results[:5]:
        assert judge(generate(result.seed, mode=mode), Recorded(result.recording)) is None


@pytest.mark.parametrize("mode", MODES)
def test_packets_meet_the_same_rules_in_the_same_order(mode):
    """The kernel's own trace of each packet (nft monitor trace, xtables-monitor) is the model's."""
    needs_linux()
    with pool(WORKERS) as processes:
        told = list(processes.map(compare, (1, 2, 5), [mode] * 3))
    assert [difference for _, found in told for difference in found] == []
    assert sum(compared for compared, _ in told) > 20
