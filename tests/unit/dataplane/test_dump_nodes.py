"""Dumps of real machines (tests/data/nodes): they load, and print back what they were made of."""

import re
from pathlib import Path

import pytest

from podwire.dataplane.dump import tables
from podwire.dataplane.dump.load import NOW_NS, load
from podwire.dataplane.dump.text import Dump, Section, read
from podwire.runtime.rng import SeededRng

FOLDER = Path(__file__).resolve().parents[2] / "data" / "nodes"
DUMPS = sorted(path.stem for path in FOLDER.glob("*.dump"))
IP_ADDR_UNTOLD = re.compile(r" (?:qdisc \S+|state UNKNOWN|state UP|qlen \d+)|valid_lft.*")
"""What ``ip addr`` shows and the model does not keep: queues, and how long an address lives."""


def dump(name):
    (found,) = read((FOLDER / f"{name}.dump").read_text(), f"{name}.dump")
    return found


def loaded_of(found):
    return load(found, SeededRng(0))


def shown(loaded, *argv):
    out, err, code = loaded.kernel.tool("", list(argv), "", NOW_NS)
    assert (err, code) == ("", 0), argv
    return out


def text(found, section):
    return found.sections[section].text


def rules(saved):
    """Without comments, and tables in the order of their names."""
    lines = [line for line in saved.splitlines() if not line.startswith("#")]
    blocks = re.findall(r"\*.*?COMMIT", "\n".join(lines), re.DOTALL)
    return sorted(blocks)


@pytest.mark.parametrize("name", DUMPS)
def test_rules_print_back_as_they_were_saved(name):
    """iptables-save -c, both families: every rule, chain, policy and counter."""
    found = dump(name)
    loaded = loaded_of(found)
    for tool, family in (("iptables", "ipv4"), ("ip6tables", "ipv6")):
        told = [text(found, f"{tool}-save"), text(found, f"{tool}-legacy-save")]
        saved = max(told, key=len)
        assert rules(shown(loaded, f"{tool}-save", "-c")) == rules(saved), family


@pytest.mark.parametrize("name", DUMPS)
def test_the_ruleset_of_nft_prints_back(name):
    """All tables of nft but those of iptables and what is not modelled."""
    found = dump(name)
    kept = tables.split(text(found, "nft"), ("ip", "ip6")).text
    # one element that two were merged into: nft itself prints it without braces once it is reloaded
    kept = re.sub(r"\{ (0\.0\.0\.0/0|::/0) \}", r"\1", kept)
    words = [line for line in kept.splitlines() if line.strip()]
    listed = shown(loaded_of(found), "nft", "list", "ruleset")
    assert [line for line in listed.splitlines() if line.strip()] == words


@pytest.mark.parametrize("name", DUMPS)
def test_routes_rules_and_neighbours_print_back(name):
    """ip route, ip rule, ip neigh, ipset save: word by word."""
    found = dump(name)
    loaded = loaded_of(found)
    routes = shown(loaded, "ip", "-4", "route", "show", "table", "all")
    routes += shown(loaded, "ip", "-6", "route", "show", "table", "all")
    assert sorted(routes.splitlines()) == sorted(text(found, "ip-route").splitlines())
    listed = shown(loaded, "ip", "-4", "rule") + shown(loaded, "ip", "-6", "rule")
    assert listed == text(found, "ip-rule")
    known = [line for line in text(found, "ip-neigh").splitlines() if "FAILED" not in line]
    there = shown(loaded, "ip", "neigh").replace("STALE", "REACHABLE").splitlines()
    told = [re.sub("STALE|DELAY|PROBE", "REACHABLE", line).replace(" router", "") for line in known]
    assert sorted(there) == sorted(told)
    assert shown(loaded, "ipset", "save") == text(found, "ipset-save")


def devices(printed):
    """Lines of ``ip addr`` without details, as far as the model keeps them."""
    lines = []
    for line in printed.splitlines():
        if line[0] != " ":
            lines.append(line)
        elif line.split()[0].startswith(("link/", "inet")):
            lines.append(re.sub(r" promiscuity .*| minmtu .*", "", line).rstrip())
    return [IP_ADDR_UNTOLD.sub("", line) for line in lines]


@pytest.mark.parametrize("name", DUMPS)
def test_devices_and_addresses_print_back(name):
    """ip addr: index, name, far side, flags, MTU, master, MAC, addresses with their words."""
    found = dump(name)
    assert devices(shown(loaded_of(found), "ip", "addr")) == devices(text(found, "ip-addr"))


@pytest.mark.parametrize("name", DUMPS)
def test_loading_twice_gives_the_same_state(name):
    """The state of a loaded kernel depends on its dump alone."""
    found = dump(name)
    assert loaded_of(found).kernel.state_hash() == loaded_of(found).kernel.state_hash()


SETS = (
    "create cali40s:aaaaaaaaaaaaaaaaaaaaaaa hash:net family inet hashsize 1024 maxelem 1048576\n"
    "add cali40s:aaaaaaaaaaaaaaaaaaaaaaa 10.244.0.0/26\n"
)


@pytest.mark.parametrize("name", ["cilium", "calico"])
def test_the_chains_of_other_agents_load_and_print_back(name):
    """Felix' and Cilium's rules, with matches and targets that are not modelled among them."""
    saved = (FOLDER / "rules" / f"{name}.txt").read_text()
    sections = {"iptables-save": Section(saved, name), "ipset-save": Section(SETS, "sets")}
    loaded = loaded_of(Dump(name, sections))
    assert rules(shown(loaded, "iptables-save")) == rules(saved)


def test_upstreams_dump_of_kube_proxy_loads():
    """TestOverallIPTablesRules' rules of kube-proxy, as a dump."""
    saved = (FOLDER.parent / "proxydumps" / "overall_iptables.txt").read_text()
    loaded = loaded_of(Dump("up", {"iptables-save": Section(saved, "overall")}))
    printed = shown(loaded, "iptables-save")
    assert printed.count("\n-A ") == saved.count("\n-A ")
