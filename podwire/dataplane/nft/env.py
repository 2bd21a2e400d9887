"""What expressions and statements of a rule may look at besides the packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.netfilter.env import Chance
from podwire.dataplane.nft.elements import Element
from podwire.dataplane.nft.types import Value

if TYPE_CHECKING:
    from podwire.dataplane.cost import Meter
    from podwire.dataplane.netns import Netns
    from podwire.dataplane.nft.model import Table
    from podwire.dataplane.nft.state import Nft


class Env:
    """The surroundings of one walk through a base chain. ``family``: ip or ip6, the packet's;
    ``meter`` counts what a kernel would have done.
    """

    __slots__ = (
        "chain", "chance", "family", "hook", "meter", "nft", "now_ns", "ns", "picked", "rule",
        "size", "table",
    )  # fmt: skip

    def __init__(
        self, ns: Netns, nft: Nft, table: Table, chance: Chance, now_ns: int, family: str,
        hook: str, meter: Meter | None = None,
    ) -> None:  # fmt: skip
        self.ns, self.nft, self.table, self.chance = ns, nft, table, chance
        self.now_ns, self.family, self.hook, self.meter = now_ns, family, hook, meter
        self.chain = ""
        self.rule = 0
        """The handle of the rule that is tried: what its counters and limits are kept under."""
        self.size = 0
        self.picked: tuple[str, Element] | None = None
        """The map and element that gave the verdict, for whoever tells of it."""

    def asked(self) -> None:
        """A set or map is asked, or written to."""
        if self.meter is not None:
            self.meter.asked("nft set")

    def find(self, name: str, value: Value) -> Element | None:
        """The living element of a named set or map that a value belongs to."""
        self.asked()
        found = self.table.members[name].find(value)
        if found is None and self.nft.dynamic:
            found = self.nft.dynamic_element(self.table.key, name, value, self.now_ns)
        return found
