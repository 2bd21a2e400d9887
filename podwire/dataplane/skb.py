"""A packet on its way through one namespace, with what the kernel remembers about it."""

from __future__ import annotations

from podwire.dataplane.conntrack import Entry
from podwire.dataplane.packet import Packet


class Skb:
    """Mutable companion of a packet: devices as netfilter sees them, and its conntrack entry.

    ``ct_state`` is NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED or "" before conntrack ran;
    ``ct_reply`` says that it travels against the entry's original direction; ``zone`` is where it
    will be tracked; ``ipvs`` that IPVS is done with it. ``hop`` is the next hop that a device
    without neighbours is told of.
    """

    __slots__ = (
        "ct",
        "ct_reply",
        "ct_state",
        "hop",
        "in_dev",
        "ipvs",
        "out_dev",
        "packet",
        "phys_in",
        "phys_out",
        "zone",
    )

    def __init__(self, packet: Packet, in_dev: str = "", out_dev: str = "") -> None:
        self.packet = packet
        self.in_dev = in_dev
        self.out_dev = out_dev
        self.hop = ""
        self.phys_in = ""
        self.phys_out = ""
        self.ct: Entry | None = None
        self.ct_reply = False
        self.ct_state = ""
        self.zone = 0
        self.ipvs = False

    def copy(self) -> Skb:
        """Another one in the same condition (flooding sends one to each port)."""
        twin = Skb(self.packet, self.in_dev, self.out_dev)
        twin.hop, twin.zone = self.hop, self.zone
        twin.phys_in, twin.phys_out = self.phys_in, self.phys_out
        twin.ct, twin.ct_reply, twin.ct_state = self.ct, self.ct_reply, self.ct_state
        twin.ipvs = self.ipvs
        return twin
