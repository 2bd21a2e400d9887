"""``tc qdisc``: netem on a device, as iproute2 6.1 reads and prints it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.link import Link
from podwire.dataplane.qdisc import Netem
from podwire.dataplane.tools.words import Result, UsageError, Words, abbreviates, not_modelled

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel
    from podwire.dataplane.netns import Netns

VERSION = "tc utility, iproute2-6.1.0, libbpf 1.1.2\n"
_TIMES = {"s": 10**9, "sec": 10**9, "secs": 10**9, "ms": 10**6, "msec": 10**6, "us": 10**3,
          "usec": 10**3, "": 10**3}  # fmt: skip
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "": 1,
          "bps": 8, "kbps": 8 * 10**3, "mbps": 8 * 10**6, "gbps": 8 * 10**9}  # fmt: skip
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([a-z]*)", re.IGNORECASE)


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, now_ns: int) -> Result:
    """Run ``tc`` with its arguments."""
    words = Words(argv)
    try:
        while words.peek().startswith("-"):
            if words.next() in {"-V", "-Version"}:
                return VERSION, "", 0
            raise not_modelled("tc with options")
        name = words.next() if words else "help"
        if not abbreviates(name, "qdisc"):
            raise not_modelled(f"tc {name}")
        return _qdisc(kernel, kernel.netns(netns), words, now_ns), "", 0
    except UsageError as error:
        return "", error.text, error.code
    except CommandError as error:
        return "", f"{error}\n", 2 if str(error).startswith("Error") else 1


def _qdisc(kernel: Kernel, ns: Netns, words: Words, now_ns: int) -> str:
    verbs = ("show", "list", "lst", "add", "change", "replace", "delete")
    verb = abbreviates(words.next(), *verbs) if words else "show"
    if verb in {"show", "list", "lst"}:
        return _show(ns, words)
    if not verb:
        raise UsageError('Command is unknown, try "tc qdisc help".', 1)
    dev, kind = "", ""
    for word in words:
        if word == "dev":
            dev = words.next()
        elif word == "root":
            continue
        else:
            kind = word
            break
    if verb == "delete":
        kernel.execute(c.QdiscDel(netns=ns.name, dev=dev), now_ns)
        return ""
    if kind != "netem":
        raise not_modelled(f"qdisc {kind or 'without a kind'}")
    fields = _netem(words)
    kernel.execute(c.QdiscReplace(netns=ns.name, dev=dev, verb=verb, **fields), now_ns)
    return ""


def _netem(words: Words) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        if word in {"delay", "latency"}:
            found["delay_ns"] = _amount(words.next(), _TIMES, "latency")
            if _AMOUNT.fullmatch(words.peek()):
                found["jitter_ns"] = _amount(words.next(), _TIMES, "jitter")
        elif word in {"loss", "drop", "duplicate", "corrupt", "reorder"}:
            if words.peek() == "random":
                words.next()
            found["loss" if word == "drop" else word] = _share(words.next(), word)
        elif word == "gap":
            found["gap"] = int(words.next())
        elif word == "rate":
            found["rate_bits"] = _amount(words.next(), _RATES, "rate")
        elif word == "limit":
            found["limit"] = int(words.next())
        elif word.endswith("%"):
            raise not_modelled("netem correlation")
        elif word in {"distribution", "slot", "ecn", "seed"}:
            raise not_modelled(f"netem {word}")
        else:
            raise UsageError(f'What is "{word}"?\n', 1)
    if found.get("reorder"):
        if not found.get("delay_ns"):
            raise UsageError("reordering not possible without specifying some delay\n", 1)
        found.setdefault("gap", 1)
    return found


def _amount(text: str, units: dict[str, int], what: str) -> int:
    match = _AMOUNT.fullmatch(text)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f'Illegal "{what}"\n', 1)
    return int(float(match[1]) * unit)


def _share(text: str, what: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if match is None or float(match[1]) > 100:
        raise UsageError(f'Illegal "{what}"\n', 1)
    return float(match[1]) / 100


def _show(ns: Netns, words: Words) -> str:
    dev = ""
    for word in words:
        if word != "dev":
            raise not_modelled(f"tc qdisc show {word}")
        dev = words.next()
    if dev and dev not in ns.links:
        raise UsageError(f'Cannot find device "{dev}"', 1)
    # as the kernel lists them: devices by number, those without a queue of their own too
    shown = [link for link in ns.links.values() if dev in {"", link.name}]
    return "".join(line(link, hide_dev=bool(dev)) + "\n" for link in shown)


def line(link: Link, *, hide_dev: bool = False) -> str:
    """One discipline; iproute2 leaves a blank at the end."""
    where = "" if hide_dev else f"dev {link.name} "
    if link.qdisc is None:
        kind = "fq_codel" if link.kind == "phys" else "noqueue"
        return f"qdisc {kind} 0: {where}root refcnt 2 "
    netem = link.qdisc
    return f"qdisc netem {netem.handle:x}: {where}root refcnt 2 {_options(netem)} "


def _options(netem: Netem) -> str:
    words = [f"limit {netem.limit}"]
    if netem.delay_ns:
        jitter = f"  {_time(netem.jitter_ns)}" if netem.jitter_ns else ""
        words.append(f"delay {_time(netem.delay_ns)}{jitter}")
    for name in ("loss", "duplicate", "reorder", "corrupt"):
        share = getattr(netem, name)
        words += [f"{name} {100 * share:g}%"] if share else []
    words += [f"rate {_rate(netem.rate_bits)}"] if netem.rate_bits else []
    words += [f"gap {netem.gap}"] if netem.gap else []
    return " ".join(words)


def _time(value_ns: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if value_ns >= size:
            return f"{value_ns / size:.3g}{unit}"
    return f"{value_ns}ns"


def _rate(bits: int) -> str:
    for unit, size in (("Gbit", 10**9), ("Mbit", 10**6), ("Kbit", 10**3)):
        if bits >= size and bits % size == 0:
            return f"{bits // size}{unit}"
    return f"{bits}bit"
