"""The pytest plugin: fixture ``cluster`` (virtual time), marker ``podwire``, seed option.

``@pytest.mark.podwire(nodes=3, cni="calico", time_profile="typical", ingress="nginx", seed=7)``
chooses the cluster of one test; ``--podwire-seed`` the seed of all that do not. A failing test's
report shows the seed, the trace hash and the state of nodes and pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from podwire.sim.virtual import VirtualCluster

_CLUSTER = pytest.StashKey[Any]()
_SETTINGS = (
    "nodes", "cni", "proxy_mode", "ip_family", "time_profile", "zones", "ingress",
    "authorization_mode", "enable_admission_plugins", "disable_admission_plugins",
    "admission_control_config_file",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--podwire-seed``."""
    group = parser.getgroup("podwire")
    group.addoption(
        "--podwire-seed", type=int, default=0, help="Seed of simulated clusters (default 0)."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers",
        "podwire(nodes, cni, proxy_mode, time_profile, zones, ingress, seed): a test's cluster",
    )


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[VirtualCluster]:
    """A fresh cluster in virtual time: nodes and kube-system Ready."""
    from podwire.sim.settings import ClusterSettings  # noqa: PLC0415  heavy: only when used
    from podwire.sim.virtual import VirtualCluster  # noqa: PLC0415

    marker = request.node.get_closest_marker("podwire")
    options = dict(marker.kwargs) if marker else {}
    seed = options.pop("seed", request.config.getoption("--podwire-seed"))
    unknown = sorted(set(options) - set(_SETTINGS))
    if unknown:
        raise pytest.UsageError(f"podwire marker: unknown {', '.join(unknown)}")
    options.setdefault("time_profile", "fast")
    made = VirtualCluster(ClusterSettings(**options), seed)
    request.node.stash[_CLUSTER] = (made, seed)
    try:
        made.boot()
        yield made
    finally:
        made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the cluster's state and the replay facts to a failing test's report."""
    report = yield
    made, seed = item.stash.get(_CLUSTER, (None, 0))
    if made is not None and report.when == "teardown":
        del item.stash[_CLUSTER]  # the session keeps its items, and would keep every cluster
    if made is not None and report.when == "call" and report.failed:
        text = (
            f"seed {seed}  t+{made.now_s:.3f}s  trace-hash {made.trace_hash}\n{made.summary()}\n"
            f"replay: pytest {item.nodeid} --podwire-seed {seed}"
        )
        report.sections.append(("podwire cluster", text))
    return report
