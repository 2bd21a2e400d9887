"""The podwire command against a live cluster."""

import sys

import pytest

pytestmark = pytest.mark.xdist_group("live")


def test_up_with_wait_on_a_running_cluster_waits_for_it(live):
    """Twice is no error, and --wait means the same both times."""
    done = live.run(sys.executable, "-m", "podwire", "up", "--detach", "--wait=30s")
    assert "is running already" in done.stderr
    assert "Nodes and kube-system Ready" in done.stderr
