"""``ipvsadm``: virtual servers as ipvsadm 1.31 makes and prints them (always numeric)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.ipvs import change, show
from podwire.dataplane.ipvs.change import IpvsError
from podwire.dataplane.tools.words import Result

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

VERSION = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"
_FORMS = {
    "--stats": "stats",
    "--rate": "rate",
    "--thresholds": "thresholds",
    "--persistent-conn": "persistent",
}


def run(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """Run ``ipvsadm`` with its arguments."""
    ns = kernel.netns(netns)
    ns.expire_ipvs(now_ns)
    words = [part for word in argv for part in _letters(word)]
    try:
        if not words or any(word in {"-L", "-l", "--list"} for word in words):
            return _list(ns, words, now_ns), "", 0
        if words[0] in {"-v", "--version"}:
            return VERSION, "", 0
        if any(word in {"-S", "--save"} for word in words):
            return show.save(ns.ipvs), "", 0
        if any(word in {"-R", "--restore"} for word in words):
            ns.change_ipvs(lambda draft: change.restore(draft, stdin))
        else:
            ns.change_ipvs(lambda draft: change.run(draft, words))
    except IpvsError as error:
        return "", f"{error}\n", error.code
    return "", "", 0


def restored(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """``ipvsadm-restore``."""
    return run(kernel, netns, ["-R", *argv], stdin, now_ns)


def saved(kernel: Kernel, netns: str, argv: list[str], stdin: str, now_ns: int) -> Result:
    """``ipvsadm-save``."""
    return run(kernel, netns, ["-S", *argv], stdin, now_ns)


def _letters(word: str) -> list[str]:
    """``-Lnc`` as ``-L -n -c``."""
    if len(word) > 2 and word[0] == "-" and word[1] in "LlSCZ" and word[1:].isalpha():
        return [f"-{letter}" for letter in word[1:]]
    return [word]


def _list(ns: Netns, words: list[str], now_ns: int) -> str:
    if any(word in {"-c", "--connection"} for word in words):
        return show.connections(ns.ipvs.all_conns(), now_ns)
    if "--timeout" in words:
        return show.timeouts(ns.ipvs)
    if "--daemon" in words:
        return ""
    form = next((_FORMS[word] for word in words if word in _FORMS), "")
    known = {"-L", "-l", "--list", "-n", "--numeric", "--exact", "--sort", "--nosort", *_FORMS}
    line = change.parse([word for word in words if word not in known])
    if line.key is not None and line.key not in ns.ipvs.services:
        raise IpvsError("No such service")
    return show.listing(ns.ipvs, now_ns, form, line.key, exact="--exact" in words)
