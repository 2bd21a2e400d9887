"""Upstream's flow tables, through the dataplane, in every mode: same Services, same outcome.

About 200 flows; where a mode differs the table says so, and why.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from podwire.kube_proxy.modes import MODES
from tests.unit.kube_proxy.flows import DATA, Case, FlowNode, cases

EBPF = yaml.safe_load((DATA.parent / "proxyflows_ebpf.yaml").read_text())
"""What differs with Cilium's datapath, by case and flow, each with its reason."""

HELD = ("iptables", "nftables", "ipvs", "ebpf")
"""The modes that these tables are about (as far as they are there)."""


@pytest.mark.parametrize("mode", [mode for mode in HELD if mode in MODES])
@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_flow_goes_where_upstream_says(case: Case, mode: str):
    """Endpoints as a set, REJECT, DROP, ACCEPT or untouched; and who is masqueraded."""
    about = _for_mode(case.body, mode)
    if "skip" in about:
        pytest.skip(about["skip"])
    node = FlowNode(about, mode)
    for step in ({"flows": about["flows"]}, *about.get("then", ())):
        for what in step.get("delete", ()):
            node.delete(what)
        if "delete" in step:
            node.sync()
        for flow in step["flows"]:
            wanted = _for_mode(flow, mode)
            if mode == "ebpf":
                wanted = {**wanted, **EBPF.get(f"{case} / {flow['name']}", {})}
            if "skip" in wanted:
                continue
            goes = wanted["goes"]
            goes = sorted(goes) if isinstance(goes, list) else goes
            masqueraded = isinstance(goes, list) and wanted.get("masq", False)
            assert node.outcome(wanted) == (goes, masqueraded), wanted["name"]


def _for_mode(body: dict[str, Any], mode: str) -> dict[str, Any]:
    return {**body, **body.get("modes", {}).get(mode, {})}


def test_the_differences_of_ebpf_are_about_flows_that_exist():
    """A renamed flow would silently lose its reason."""
    names = {
        f"{case} / {flow['name']}"
        for case in cases()
        for step in ({"flows": case.body["flows"]}, *case.body.get("then", ()))
        for flow in step["flows"]
    }
    assert [name for name in EBPF if name not in names] == []


def test_the_tables_are_whole():
    """Nobody lost a flow on the way from upstream's tables."""
    counts: dict[str, int] = {}
    for case in cases():
        steps = ({"flows": case.body["flows"]}, *case.body.get("then", ()))
        counts[case.file] = counts.get(case.file, 0) + sum(len(s["flows"]) for s in steps)
    assert counts == {
        "cluster_ip": 9,
        "external_policy_cluster": 7,
        "external_policy_local": 7,
        "health_check": 2,
        "internal_policy": 8,
        "ip_mode": 3,
        "load_balancer": 13,
        "masquerade": 120,
        "no_endpoints": 6,
        "node_ports": 35,
        "terminating_cluster": 16,
        "terminating_local": 16,
    }
