"""``ip neigh``: neighbours as iproute2 6.1 prints them, and changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane import commands as c
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import Words, not_modelled, verb_of

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

VERBS = ("show", "list", "lst", "add", "replace", "change", "delete", "flush")


def neighbours(kernel: Kernel, ns: Netns, words: Words, options: Options, now_ns: int) -> str:
    """``ip neigh [show [ADDRESS] [dev DEV]]``, ``replace``, ``del``."""
    verb = verb_of(words, *VERBS)
    if verb in {"add", "replace", "change", "delete"}:
        _change(kernel, ns, verb, words, now_ns)
        return ""
    if verb not in {"show", "list", "lst"}:
        raise not_modelled("ip neigh with this verb")
    dev = ip = ""
    for word in words:
        if word == "dev":
            dev = words.next()
        elif word in {"nud", "proxy", "to"}:
            raise not_modelled(f"ip neigh show {word}")
        else:
            ip = word
    lines = []
    # the kernel dumps IPv4's table first
    entries = sorted(ns.neighbours.entries.values(), key=lambda entry: ":" in entry.ip)
    for entry in entries:
        family = "6" if ":" in entry.ip else "4"
        if options.family not in {"", family}:
            continue
        if dev in {"", entry.dev} and ip in {"", entry.ip}:
            where = "" if dev else f" dev {entry.dev}"
            mac = f" lladdr {entry.mac}" if entry.mac else ""
            lines.append(f"{entry.ip}{where}{mac} {entry.shown_state(now_ns)} \n")
    return "".join(lines)


def _change(kernel: Kernel, ns: Netns, verb: str, words: Words, now_ns: int) -> None:
    dst = words.next()
    given: dict[str, str] = {}
    for word in words:
        if word not in {"lladdr", "dev", "nud"}:
            raise not_modelled(f"ip neigh {verb} {word}")
        given[word] = words.next()
    if verb == "delete":
        kernel.execute(c.NeighDel(netns=ns.name, dev=given.get("dev", ""), dst=dst), now_ns)
        return
    made = c.NeighReplace(
        netns=ns.name,
        dev=given.get("dev", ""),
        dst=dst,
        mac=given.get("lladdr", ""),
        state=given.get("nud", "permanent"),
    )
    kernel.execute(made, now_ns)
