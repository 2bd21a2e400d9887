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
    """A mutation of iptables text, line by line."""

    def mutate(command: c.Command) -> c.Command | None:
        if not isinstance(command, c.RulesRestore):
            return command
        lines = (change(line) for line in command.text.splitlines(keepends=True))
        return replace(command, text="".join(line for line in lines if line is not None))

    return mutate


def _without(pattern: str) -> Mutation:
    wanted = re.compile(pattern)
    return _lines(lambda line: None if wanted.search(line) else line)


def _replaced(pattern: str, by: str) -> Mutation:
    wanted = re.compile(pattern)
    return _lines(lambda line: wanted.sub(by, line))


def _no_cleanup(command: c.Command) -> c.Command | None:
    return None if isinstance(command, c.ConntrackDelete) else command


IPTABLES: dict[str, Mutation] = {
    "hairpin mark": _without(r"^-A KUBE-SEP-\S+ .*-s \S+ -j KUBE-MARK-MASQ"),
    "external short-circuit": _without(r"(pod|route LOCAL) traffic for \S+ external destinations"),
    "masquerade of local external traffic": _without(r"masquerade LOCAL traffic for"),
    "masquerade of external traffic": _without(r"masquerade traffic for \S+ external"),
    "masquerade of traffic from off cluster": _without(r"^-A KUBE-SV\S+ .* cluster IP.*MARK-MASQ"),
    "UDP cleanup": _no_cleanup,
    "forward-hook policy": _without(r"^-I FORWARD -j cali-FORWARD"),
    "statistic probability": _replaced(r"-m statistic --mode random --probability \S+ ", ""),
    "statistic probability, by half": _replaced(r"--probability 0\.5\d+", "--probability 0.25"),
    "affinity": _without(r"-m recent \S+ \S+ --rcheck"),
    "load balancer firewall": _without(r"^-A KUBE-PROXY-FIREWALL"),
    "no endpoints": _without(r"has no endpoints"),
    "no local endpoints": _without(r"has no local endpoints"),
    "node ports": _without(r"^-A KUBE-SERVICES .* -j KUBE-NODEPORTS"),
    "masquerade": _without(r"^-A KUBE-POSTROUTING .*-j MASQUERADE"),
    "flannel's masquerade": _without(r"^-A FLANNEL-POSTRTG -s \S+ ! -d 224\.0\.0\.0/4"),
}
"""By what is taken away. The first that the reference names: hairpin mark, external short-circuit,
UDP cleanup, forward-hook policy, statistic probability.
"""
MUTATIONS: dict[str, dict[str, Mutation]] = {"iptables": IPTABLES}
