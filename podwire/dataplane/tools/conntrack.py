"""``conntrack``: the connection table as conntrack-tools 1.4.7 print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.addr import family_of
from podwire.dataplane.conntrack import ECHOES, Conntrack, Entry, Tuple
from podwire.dataplane.packet import PROTOCOL_NUMBERS
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

SECOND_NS = 1_000_000_000
NAME = "conntrack v1.4.7 (conntrack-tools)"
_FILTERS = {
    "-w": "zone",
    "--zone": "zone",
    "-f": "family",
    "--family": "family",
    "-p": "protocol",
    "--proto": "protocol",
    "-s": "orig_src",
    "--orig-src": "orig_src",
    "-d": "orig_dst",
    "--orig-dst": "orig_dst",
    "-r": "reply_src",
    "--reply-src": "reply_src",
    "-q": "reply_dst",
    "--reply-dst": "reply_dst",
    "--sport": "orig_sport",
    "--orig-port-src": "orig_sport",
    "--dport": "orig_dport",
    "--orig-port-dst": "orig_dport",
}


def line(entry: Entry, now_ns: int) -> str:
    """One entry as ``conntrack -L`` prints it."""
    protocol = entry.orig[0]
    left = max(0, (entry.expires_ns - now_ns) // SECOND_NS)
    words = [f"{protocol:<8} {PROTOCOL_NUMBERS.get(protocol, 0)} {left}"]
    if entry.tcp_state:
        words.append(entry.tcp_state)
    words.append(_tuple(entry.orig))
    if not entry.seen_reply:
        words.append("[UNREPLIED]")
    words.append(_tuple(entry.reply))
    if entry.assured:
        words.append("[ASSURED]")
    words.append(f"mark={entry.mark}")
    if entry.zone:
        words.append(f"zone={entry.zone}")
    return " ".join([*words, "use=1"])


def _tuple(key: Tuple) -> str:
    protocol, src, sport, dst, dport = key
    if protocol in ECHOES:
        return f"src={src} dst={dst} type={dport} code=0 id={sport}"
    return f"src={src} dst={dst} sport={sport} dport={dport}"


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, now_ns: int) -> Result:
    """``-L``, ``-D``, ``-F``, ``-C``, ``-S``, with filters by protocol, addresses and ports."""
    table = kernel.netns(netns).conntrack
    verb = next((w for w in argv if w in {"-L", "-D", "-F", "-C", "-S"}), "")
    wanted: dict[str, str | int] = {}
    before = ""
    words = iter(word for word in argv if word != verb)
    for word in words:
        if word in {"-o", "--output"}:
            kind = next(words, "")
            if kind != "extended":
                return "", f"{NAME}: not modelled: -o {kind}\n", 2
            before = "extended"
            continue
        if word not in _FILTERS:
            if word in {"-n", "conntrack"}:
                continue
            return "", f"{NAME}: not modelled: {word}\n", 2
        value = next(words, "")
        numeric = word.endswith(("port", "src", "dst", "zone", "-w")) and value.isdigit()
        wanted[_FILTERS[word]] = int(value) if numeric else value
    protocol = str(wanted.pop("protocol", ""))
    family = str(wanted.pop("family", "ipv4"))
    if family not in {"ipv4", "ipv6"}:
        return "", f"{NAME}: Bad parameter: unknown family\n", 2
    if verb == "-C":
        return f"{len(list(table.entries(now_ns)))}\n", "", 0
    if verb == "-S":
        return _statistics(table), "", 0
    if verb == "-F":
        table.clear()
        return "", f"{NAME}: connection tracking table has been emptied.\n", 0
    if verb not in {"-L", "-D"}:
        return "", f"{NAME}: you must specify a command (-L -D -F -C -S are modelled)\n", 2
    found = [e for e in table.entries(now_ns) if _fits(e, protocol, family, wanted)]
    if before:
        before = "ipv4     2 " if family == "ipv4" else "ipv6     10 "
    text = "".join(f"{before}{line(entry, now_ns)}\n" for entry in found)
    done = "shown" if verb == "-L" else "deleted"
    if verb == "-D":
        for entry in found:
            table.remove(entry)
    code = 1 if verb == "-D" and not found else 0
    return text, f"{NAME}: {len(found)} flow entries have been {done}.\n", code


def _fits(entry: Entry, protocol: str, family: str, wanted: dict[str, str | int]) -> bool:
    have = {**entry.ends, "zone": entry.zone}
    if family != family_of(entry.orig[1]):
        return False
    return protocol in {"", entry.orig[0]} and all(have[k] == v for k, v in wanted.items())


def _statistics(table: Conntrack) -> str:
    return (
        f"cpu=0   \tfound={table.found} invalid={table.invalid} insert={table.inserted} "
        f"insert_failed={table.insert_failed} drop={table.dropped} "
        f"early_drop={table.early_dropped} error=0 search_restart=0 "
        f"clash_resolve={table.clash_resolved} "
        "chaintoolong=0 \n"
    )
