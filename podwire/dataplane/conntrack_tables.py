"""What connection trackers know by heart: the kernel's state tables of TCP and SCTP.

``TRANSITIONS[protocol][answer, kind, old]`` is the new state. "" is invalid, "-" leaves the state
alone. From net/netfilter/nf_conntrack_proto_tcp.c and nf_conntrack_proto_sctp.c.
"""

from __future__ import annotations

from collections.abc import Mapping

from podwire.dataplane.packet import ACK, FIN, RST, SYN

# fmt: off
NO, SS, SR, ES, FW, CW, LA, TW, CL, S2 = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
    "TIME_WAIT", "CLOSE", "SYN_SENT2",
)
IV, IG = "", "-"
TCP_STATES = (NO, SS, SR, ES, FW, CW, LA, TW, CL, S2)
_TCP_ORIGINAL = {
    "syn":    (SS,  SS,  IG,  IG,  IG,  IG,  IG,  SS,  SS,  S2),
    "synack": (IV,  IV,  SR,  IV,  IV,  IV,  IV,  IV,  IV,  SR),
    "fin":    (IV,  IV,  FW,  FW,  LA,  LA,  LA,  TW,  CL,  IV),
    "ack":    (ES,  IV,  ES,  ES,  CW,  CW,  TW,  TW,  CL,  IV),
    "rst":    (IV,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL),
    "none":   (IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV),
}
_TCP_REPLY = {
    "syn":    (IV,  S2,  IV,  IV,  IV,  IV,  IV,  SS,  IV,  S2),
    "synack": (IV,  SR,  IG,  IG,  IG,  IG,  IG,  IG,  IG,  SR),
    "fin":    (IV,  IV,  FW,  FW,  LA,  LA,  LA,  TW,  CL,  IV),
    "ack":    (IV,  IG,  SR,  ES,  CW,  CW,  TW,  TW,  CL,  IG),
    "rst":    (IV,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL,  CL),
    "none":   (IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV,  IV),
}

CD, CK, CE, SD, SV, SA, HS = (
    "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
)
SCTP_STATES = (NO, CD, CK, CE, ES, SD, SV, SA, HS)
_SCTP_ORIGINAL = {
    "init":              (CD, CD, CK, CE, ES, CD, CD, SA, CK),
    "init_ack":          (CD, CD, CK, CE, ES, SD, SV, SA, CD),
    "abort":             (CD, CD, CD, CD, CD, CD, CD, CD, CD),
    "shutdown":          (CD, CD, CK, CE, SD, SD, SV, SA, CD),
    "shutdown_ack":      (SA, CD, CK, CE, ES, SA, SA, SA, SA),
    "error":             (CD, CD, CK, CE, ES, SD, SV, SA, CD),
    "cookie_echo":       (CD, CD, CE, CE, ES, SD, SV, SA, CD),
    "cookie_ack":        (CD, CD, CK, ES, ES, SD, SV, SA, CD),
    "shutdown_complete": (CD, CD, CK, CE, ES, SD, SV, CD, CD),
    "heartbeat":         (HS, CD, CK, CE, ES, SD, SV, SA, HS),
    "heartbeat_ack":     (CD, CD, CK, CE, ES, SD, SV, SA, HS),
}
_SCTP_REPLY = {
    "init":              (IV, CD, CK, CE, ES, SD, SV, SA, IV),
    "init_ack":          (IV, CK, CK, CE, ES, SD, SV, SA, IV),
    "abort":             (IV, CD, CD, CD, CD, CD, CD, CD, IV),
    "shutdown":          (IV, CD, CK, CE, SV, SD, SV, SA, IV),
    "shutdown_ack":      (IV, CD, CK, CE, ES, SA, SA, SA, IV),
    "error":             (IV, CD, CK, CD, ES, SD, SV, SA, IV),
    "cookie_echo":       (IV, CD, CE, CE, ES, SD, SV, SA, IV),
    "cookie_ack":        (IV, CD, CK, ES, ES, SD, SV, SA, IV),
    "shutdown_complete": (IV, CD, CK, CE, ES, SD, SV, CD, IV),
    "heartbeat":         (IV, CD, CK, CE, ES, SD, SV, SA, HS),
    "heartbeat_ack":     (IV, CD, CK, CE, ES, SD, SV, SA, ES),
}
# fmt: on

SCTP_OUT_OF_BLUE = ("abort", "shutdown_complete", "cookie_ack")
"""Chunks that open no connection (RFC 9260 8.4)."""

Transitions = dict[tuple[bool, str, str], str]


def _by_key(
    states: tuple[str, ...],
    original: Mapping[str, tuple[str, ...]],
    reply: Mapping[str, tuple[str, ...]],
) -> Transitions:
    return {
        (answer, kind, old): new
        for answer, rows in ((False, original), (True, reply))
        for kind, row in rows.items()
        for old, new in zip(states, row, strict=True)
    }


TCP = _by_key(TCP_STATES, _TCP_ORIGINAL, _TCP_REPLY)
SCTP = _by_key(SCTP_STATES, _SCTP_ORIGINAL, _SCTP_REPLY)


def segment_kind(flags: int) -> str:
    """A TCP segment's row in the table."""
    if flags & RST:
        return "rst"
    if flags & SYN:
        return "synack" if flags & ACK else "syn"
    if flags & FIN:
        return "fin"
    return "ack" if flags & ACK else "none"


_PREFIX = "net.netfilter.nf_conntrack_"
TIMEOUTS = {
    "tcp_syn_sent2": f"{_PREFIX}tcp_timeout_syn_sent",
    "udp": f"{_PREFIX}udp_timeout",
    "udp_stream": f"{_PREFIX}udp_timeout_stream",
    "icmp": f"{_PREFIX}icmp_timeout",
    "icmpv6": f"{_PREFIX}icmpv6_timeout",
}
"""The sysctl of each condition an entry can be in."""
for _state in TCP_STATES[1:-1]:
    TIMEOUTS[f"tcp_{_state.lower()}"] = f"{_PREFIX}tcp_timeout_{_state.lower()}"
for _state in SCTP_STATES[1:]:
    TIMEOUTS[f"sctp_{_state.lower()}"] = f"{_PREFIX}sctp_timeout_{_state.lower()}"
GENERIC = f"{_PREFIX}generic_timeout"
