"""One class of rules at a time, taken away from the model (and from it alone).

Each must be noticed by some seed; otherwise the oracle does not look where it should.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec.structs import replace

from podwire.dataplane import commands as c
from tests.oracle.deployment import Mutation

Line = Callable[[str], str | None]
"""A line of rule text, changed; None removes it."""


def _lines(change: Line) -> Mutation:
    """A mutation of rule text of either tool, line by line."""

    def changed(text: str) -> str:
        lines = (change(line) for line in text.splitlines(keepends=True))
        return "".join(line for line in lines if line is not None)

    def mutate(command: c.Command) -> c.Command | None:
        if isinstance(command, c.RulesRestore):
            return replace(command, text=changed(command.text))
        if isinstance(command, c.NftApply):
            return replace(command, text=changed(command.text), own=changed(command.own))
        return command

    return mutate


def _without(pattern: str) -> Mutation:
    wanted = re.compile(pattern)
    return _lines(lambda line: None if wanted.search(line) else line)


def _replaced(pattern: str, by: str) -> Mutation:
    wanted = re.compile(pattern)
    return _lines(lambda line: wanted.sub(by, line))


def _no_cleanup(command: c.Command) -> c.Command | None:
    return None if isinstance(command, c.ConntrackDelete) else command


COMMON: dict[str, Mutation] = {
    "UDP cleanup": _no_cleanup,
    "forward-hook policy": _without(r"^-I FORWARD -j cali-FORWARD"),
    "flannel's masquerade": _without(r"^-A FLANNEL-POSTRTG -s \S+ ! -d 224\.0\.0\.0/4"),
}
IPTABLES: dict[str, Mutation] = COMMON | {
    "hairpin mark": _without(r"^-A KUBE-SEP-\S+ .*-s \S+ -j KUBE-MARK-MASQ"),
    "external short-circuit": _without(r"(pod|route LOCAL) traffic for \S+ external destinations"),
    "masquerade of local external traffic": _without(r"masquerade LOCAL traffic for"),
    "masquerade of external traffic": _without(r"masquerade traffic for \S+ external"),
    "masquerade of traffic from off cluster": _without(r"^-A KUBE-SV\S+ .* cluster IP.*MARK-MASQ"),
    "statistic probability": _replaced(r"-m statistic --mode random --probability \S+ ", ""),
    "statistic probability, by half": _replaced(r"--probability 0\.5\d+", "--probability 0.25"),
    "affinity": _without(r"-m recent \S+ \S+ --rcheck"),
    "load balancer firewall": _without(r"^-A KUBE-PROXY-FIREWALL"),
    "no endpoints": _without(r"has no endpoints"),
    "no local endpoints": _without(r"has no local endpoints"),
    "node ports": _without(r"^-A KUBE-SERVICES .* -j KUBE-NODEPORTS"),
    "masquerade": _without(r"^-A KUBE-POSTROUTING .*-j MASQUERADE"),
}
_RULE = r"^add rule \S+ kube-proxy "
NFTABLES: dict[str, Mutation] = COMMON | {
    "hairpin mark": _without(_RULE + r"endpoint-\S+ ip6? saddr \S+ jump mark-for-masq"),
    "external short-circuit": _without(_RULE + r"external-\S+ .*saddr .*goto service-"),
    "masquerade of local external traffic": _without(_RULE + r"external-\S+ .*saddr .*jump mark-"),
    "masquerade of external traffic": _without(_RULE + r"external-\S+ jump mark-for-masq"),
    "masquerade of traffic from off cluster": _without(
        _RULE + r"(service|local)-\S+ ip6? daddr .*jump mark-for-masq"
    ),
    "random choice": _replaced(r"numgen random mod \d+", "numgen random mod 1"),
    "random choice, uneven": _replaced(
        r"numgen random mod 2 vmap \{ 0 : (.*) , 1 : (.*) \}",
        r"numgen random mod 4 vmap { 0 : \1 , 1 : \2 , 2 : \2 , 3 : \2 }",
    ),
    "affinity": _without(_RULE + r"\S+ ip6? saddr @affinity-"),
    "load balancer firewall": _without(_RULE + r"firewall-\S+ .*drop"),
    "no endpoints": _without(_RULE + r"reject-chain reject"),
    "no local endpoints": _replaced(r"(add element .*) : drop \}", r"\1 : goto reject-chain }"),
    "node ports": _without(_RULE + r"services .*vmap @service-nodeports"),
    "masquerade": _without(_RULE + r"masquerading masquerade"),
    "unknown ports of cluster IPs": _without(_RULE + r"cluster-ips-check .*@cluster-ips reject"),
    "unallocated cluster IPs": _without(_RULE + r"cluster-ips-check .* drop"),
}
MUTATIONS: dict[str, dict[str, Mutation]] = {"iptables": IPTABLES, "nftables": NFTABLES}
"""By mode, then by what is taken away."""
