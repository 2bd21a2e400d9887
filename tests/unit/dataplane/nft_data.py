"""tests/data/nftables: what nft 1.0.6 does with texts, for the model and for the real tool."""

import json
import re
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "nftables"
FILES = ("statements", "elements", "sets")
SETUP = """
flush ruleset
add table {family} t
add chain {family} t c2
add chain {family} t c3
add chain {family} t a
add chain {family} t b
add chain {family} t x {{ type {kind} hook {hook} priority 0; }}
add set {family} t s4 {{ type ipv4_addr; flags dynamic,timeout; }}
add set {family} t s1 {{ type ipv4_addr; }}
add set {family} t s3 {{ type ipv4_addr . inet_service; flags interval; }}
add map {family} t m1 {{ type inet_service : ipv4_addr; }}
add map {family} t m2 {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
add counter {family} t cnt
add quota {family} t q1 {{ over 25 mbytes; }}
add limit {family} t l1 {{ rate 10/second; }}
add rule {family} t x {rule}
"""
"""What rules of rules.txt may refer to."""
PLACES = (("filter", "forward"), ("nat", "prerouting"), ("nat", "postrouting"))
"""Where a rule is tried, in this order."""


def rules():
    """(family, rule, as nft lists it)."""
    found = []
    for line in (DATA / "rules.txt").read_text().splitlines():
        if line.startswith("   > "):
            found[-1] = (*found[-1][:2], line.removeprefix("   > "))
        elif not line.startswith("#"):
            family, _, rule = line.partition(" | ")
            found.append((family, rule, rule))
    return found


def errors():
    """What is loaded before, and the cases: text, stdout, stderr, code."""
    body = json.loads((DATA / "errors.json").read_text())
    return body["setup"], body["cases"]


def timeless(listing):
    """A listing without the time that elements have left."""
    return re.sub(r"expires \w+", "expires X", listing)
