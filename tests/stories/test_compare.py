"""The article's comparison of kube-proxy's modes, regenerated; and what one traced packet cost."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from podwire.cli.main import podwire
from podwire.explain.table import render

ROOT = Path(__file__).resolve().parents[2]


def compare(*argv):
    return CliRunner().invoke(podwire, ["compare", "proxy-modes", *argv])


def test_the_articles_table_can_be_regenerated():
    """O(n) for iptables, O(1) for IPVS, nftables and eBPF: no cluster runs, equal seeds agree."""
    argv = ("--services", "20,200", "--endpoints", "3", "-o", "json")
    told = compare(*argv)
    assert told.exit_code == 0
    assert json.loads(told.stdout) == json.loads(compare(*argv).stdout)
    rules = {
        (row["mode"], row["services"]): row["firstPacket"]["median"]["rulesTraversed"]
        for row in json.loads(told.stdout)["rows"]
    }
    assert rules["iptables", 200] - rules["iptables", 20] == pytest.approx(90, abs=4)
    for mode in ("ipvs", "nftables", "ebpf"):
        assert rules[mode, 200] == rules[mode, 20] < rules["iptables", 20]


def test_progress_goes_to_stderr_and_the_table_to_stdout():
    """Each size and mode as it begins; two tables with a row for each."""
    told = compare("--services", "7", "--modes", "ipvs,ebpf")
    assert told.stderr.splitlines() == [" • 7 Services, ipvs ...", " • 7 Services, ebpf ..."]
    lines = told.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("7")] == [
        ["7", "ipvs"], ["7", "ebpf"]] * 2  # fmt: skip
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--services", "many"), "'many' is no number"),
        (("--services", "10,,20"), "'' is no number"),
        (("--services", "0"), "services: 0 is not between"),
        (("--modes", "userspace"), "'userspace' is not one of iptables"),
        (("--services", "9" * 30), "is no number such as 1000"),
    ],
)
def test_nonsense_exits_2_and_says_what_would_do(argv, told):
    """Before anything is built."""
    done = compare(*argv)
    assert "•" not in done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert (done.exception.code, told in str(done.exception)) == (2, True)
    else:
        assert (done.exit_code, told in done.output) == (2, True)


def test_modes_are_completed_one_after_the_other():
    """``--modes ipvs,n<TAB>`` offers nftables, and what is there already is not offered."""
    from podwire.cli.verbs.compare import proxy_modes  # noqa: PLC0415

    (option,) = [p for p in proxy_modes.params if p.name == "modes"]

    def offered(begun):
        return [item.value for item in option.shell_complete(click.Context(proxy_modes), begun)]

    assert offered("ipvs,") == ["ipvs,iptables", "ipvs,nftables", "ipvs,ebpf"]
    assert offered("ipvs,n") == ["ipvs,nftables"]


def test_the_page_shows_the_table_that_the_command_prints():
    """Rows of the page for 10 and 100 Services, as they are computed now."""
    page = (ROOT / "docs/kube-proxy.md").read_text()
    shown = [line for line in page.splitlines() if re.match(r"(10|100) +[a-z]", line)]
    lines = compare("--services", "10,100").stdout.splitlines()
    made = [line for line in lines if re.match(r"(10|100) +[a-z]", line)]
    assert [line.split() for line in shown] == [line.split() for line in made]


def test_a_traced_packet_says_what_it_cost(cluster):
    """Per step, per hop, per way; the table in one line."""
    cluster.apply(ROOT / "examples/article/backend.yaml", ROOT / "examples/article/frontend.yaml")
    assert cluster.converge()
    report = cluster.trace("deploy/frontend", "svc/backend:80")
    steps = [step for hop in report.hops for step in hop.steps]
    assert report.cost.rules_traversed == sum(s.cost.rules_traversed for s in steps if s.cost) > 10
    assert report.cost.lookups >= 3
    assert report.reply_cost.lookups >= 1
    services = next(s for s in steps if (s.stage, s.object) == ("nat", "KUBE-SERVICES"))
    assert services.cost.rules_traversed >= 1
    assert f"cost      {report.cost.rules_traversed} rules, " in render(report)
