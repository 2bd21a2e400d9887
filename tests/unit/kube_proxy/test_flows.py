"""Upstream's flow tables, through the dataplane, in every mode: same Services, same outcome.

Some 240 flows; where a mode differs the table says so, and why.
"""

from __future__ import annotations

import pytest
import yaml

from podwire.kube_proxy.modes import MODES
from tests.unit.kube_proxy.flows import DATA, Case, FlowNode, cases, steps

EBPF = yaml.safe_load((DATA.parent / "proxyflows_ebpf.yaml").read_text())
"""What differs with Cilium's datapath, by case and flow, each with its reason."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_flow_goes_where_upstream_says(case: Case, mode: str):
    """Endpoints as a set, REJECT, DROP, ACCEPT or untouched; and who is masqueraded."""
    node = FlowNode(case.body, mode)
    for step in steps(case.body):
        for what in step.get("delete", ()):
            node.delete(what)
        if "delete" in step:
            node.sync()
        for flow in step["flows"]:
            wanted = {**flow, **flow.get("modes", {}).get(mode, {})}
            if mode == "ebpf":
                wanted |= EBPF.get(f"{case} / {flow['name']}", {})
            goes = wanted["goes"]
            goes = sorted(goes) if isinstance(goes, list) else goes
            masqueraded = isinstance(goes, list) and wanted.get("masq", False)
            assert node.outcome(wanted) == (goes, masqueraded), wanted["name"]


def test_the_differences_of_ebpf_are_about_flows_that_exist():
    """A renamed flow would silently lose its reason."""
    names = {
        f"{case} / {flow['name']}"
        for case in cases()
        for step in steps(case.body)
        for flow in step["flows"]
    }
    assert [name for name in EBPF if name not in names] == []


def test_the_tables_are_whole():
    """Nobody lost a flow on the way from upstream's tables."""
    counts: dict[str, int] = {}
    for case in cases():
        flows = sum(len(step["flows"]) for step in steps(case.body))
        counts[case.file] = counts.get(case.file, 0) + flows
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
