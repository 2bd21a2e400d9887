"""``ipset``: sets as ipset 7.17 makes and prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.ipset import change, show
from podwire.dataplane.ipset.change import EXIST, VERBS, VERSION
from podwire.dataplane.ipset.types import IpsetError
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

PROTOCOL = "protocol version: 7"


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run ``ipset`` with its arguments."""
    ns = kernel.netns(netns)
    try:
        return _run(kernel, ns, list(argv), stdin, now_ns)
    except IpsetError as error:
        return "", f"{VERSION}: {error}\n", error.code


def _run(kernel: Kernel, ns: Netns, words: list[str], stdin: str, now_ns: int) -> Result:
    exist = any(w in EXIST for w in words)
    form, words = _form([w for w in words if w not in EXIST])
    verb = next((VERBS[w] for w in words if w in VERBS), "")
    if not verb:
        unknown = f": unknown argument {words[0]}" if words else "."
        raise change.usage(f"No command specified{unknown}")
    at = next(i for i, w in enumerate(words) if w in VERBS)
    rest = [w for i, w in enumerate(words) if i != at]
    flags = [w for w in rest if w in _FLAGS]
    rest = [w for w in rest if w not in _FLAGS]
    if verb == "version":
        return f"{VERSION}, {PROTOCOL}\n", "", 0
    if verb == "help":
        return f"{VERSION}\n\nUsage: ipset [options] COMMAND\n", "", 0
    if verb == "test":
        found, said = change.test(ns.ipsets, rest, now_ns)
        return "", said, 0 if found else 1
    if verb in {"list", "save"}:
        return _show(ns, "save" if form == "save" else verb, rest, flags, now_ns), "", 0
    initval = change.seeds(kernel.rng, ns.name)
    if verb == "restore":
        change.restore(
            ns.ipsets, stdin, exist=exist, used=ns.set_references, initval=initval, now_ns=now_ns
        )
        return "", "", 0
    # a command on a draft: what fails half-way (a range with one known address) changes nothing
    draft = ns.ipsets.clone()
    change.run(
        draft, [verb, *rest], exist=exist, used=ns.set_references, initval=initval, now_ns=now_ns
    )
    ns.ipsets.take(draft)
    return "", "", 0


_FLAGS = {
    "-n": "name",
    "-name": "name",
    "-t": "terse",
    "-terse": "terse",
    "-s": "sorted",
    "-sorted": "sorted",
    "-q": "",
    "-quiet": "",
    "-r": "",
    "-resolve": "",
}


def _form(words: list[str]) -> tuple[str, list[str]]:
    """``-o save`` taken out of the words."""
    for option in ("-o", "-output"):
        if option in words:
            at = words.index(option)
            form = words[at + 1] if at + 1 < len(words) else ""
            if form not in {"plain", "save"}:
                raise IpsetError(f"not modelled: output {form}")
            return form, words[:at] + words[at + 2 :]
    return "", words


def _show(ns: Netns, verb: str, rest: list[str], flags: list[str], now_ns: int) -> str:
    chosen = [_FLAGS[flag] for flag in flags]
    if len(rest) > 1:
        raise change.usage(f"Unknown argument {rest[1]}")
    name = rest[0] if rest else ""
    if verb == "save":
        return show.save(ns.ipsets, name, now_ns)
    if "name" in chosen:
        names = [ns.ipsets.get(name).name] if name else list(ns.ipsets.table)
        return "".join(f"{found}\n" for found in names)
    return show.listing(
        ns.ipsets, name, ns.set_references(), now_ns,
        terse="terse" in chosen, ordered="sorted" in chosen,
    )  # fmt: skip
