"""States of connections and how long each lasts without a packet (ip_vs_proto_tcp.c, _udp.c)."""

from __future__ import annotations

import msgspec

from podwire.dataplane.packet import ACK, FIN, RST, SYN

# fmt: off
# tcp_states: the next state by direction, kind of segment and state
NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA = (
    "NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "SYNACK",
)
STATES = (NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA)
_ROWS = {
    ("in", "syn"): (SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR),
    ("in", "fin"): (CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW),
    ("in", "ack"): (CL, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES),
    ("in", "rst"): (CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR),
    ("out", "syn"): (SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR),
    ("out", "fin"): (TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW),
    ("out", "ack"): (ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES),
    ("out", "rst"): (CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL),
    # of connections whose answers do not come by here (direct routing)
    ("only", "syn"): (SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR),
    ("only", "fin"): (CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW),
    ("only", "ack"): (CL, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES),
    ("only", "rst"): (CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL),
}
# fmt: on
TRANSITIONS: dict[tuple[str, str, str], str] = {
    (way, kind, old): new
    for (way, kind), row in _ROWS.items()
    for old, new in zip(STATES, row, strict=True)
}
TCP_S = {
    NO: 2,
    ES: 900,
    SS: 120,
    SR: 60,
    FW: 120,
    TW: 120,
    CL: 10,
    CW: 60,
    LA: 30,
    LI: 120,
    SA: 120,
}


class Timeouts(msgspec.Struct, frozen=True):
    """``ipvsadm --set TCP TCPFIN UDP``, in seconds."""

    tcp_s: int = 900
    tcp_fin_s: int = 120
    udp_s: int = 300

    def of(self, protocol: str, state: str) -> int:
        """How long a connection lives after a packet that left it in a state."""
        if protocol == "udp":
            return self.udp_s
        if state == ES:
            return self.tcp_s
        return self.tcp_fin_s if state == FW else TCP_S[state]


def segment_kind(flags: int) -> str:
    """A segment's row of the table; "" for one that has none of the flags that count."""
    if flags & RST:
        return "rst"
    if flags & SYN:
        return "syn"
    if flags & FIN:
        return "fin"
    return "ack" if flags & ACK else ""


def next_state(protocol: str, state: str, flags: int, way: str) -> str:
    """The state after a packet. ``way``: in | out | only."""
    if protocol == "udp":
        return "UDP"
    if protocol == "sctp":
        return ES
    kind = segment_kind(flags)
    return TRANSITIONS[way, kind, state] if kind else CL
