"""``ip``: options and objects; each object's printing and changing is a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podwire.dataplane.commands import CommandError, NetnsAdd, NetnsDel
from podwire.dataplane.tools import ip_link, ip_neigh, ip_route, ip_rule
from podwire.dataplane.tools.ip_link_add import tunnel_add
from podwire.dataplane.tools.options import Options
from podwire.dataplane.tools.words import (
    Result,
    UsageError,
    Words,
    abbreviates,
    not_modelled,
    unknown_object,
)

if TYPE_CHECKING:
    from podwire.dataplane.kernel import Kernel

VERSION = "ip utility, iproute2-6.1.0, libbpf 1.1.2\n"
OBJECTS = ("address", "link", "route", "rule", "neighbour", "neighbor", "netns", "tunnel")


def run(kernel: Kernel, netns: str, argv: list[str], _stdin: str, now_ns: int) -> Result:
    """Run ``ip`` with its arguments."""
    options = Options()
    words = Words(argv)
    try:
        while words.peek().startswith("-"):
            option = words.next()
            if option in {"-n", "-netns"}:
                netns = words.next()
            elif option in {"-V", "-Version"}:
                return VERSION, "", 0
            else:
                options.take(option)
        name = words.next() if words else "help"
        found = abbreviates(name, *OBJECTS)
        if not found:
            return "", unknown_object(name, "ip").text, 1
        if found == "netns" and words.peek() == "exec":
            words.next()
            return _inside(kernel, words, now_ns)
        return _object(kernel, netns, found, words, options, now_ns), "", 0
    except UsageError as error:
        return "", error.text, error.code
    except CommandError as error:
        code = 2 if str(error).startswith(("RTNETLINK", "Error: ")) else 1
        return "", f"{error}\n", code


def _inside(kernel: Kernel, words: Words, now_ns: int) -> Result:
    """``ip netns exec NAME COMMAND``."""
    from podwire.dataplane.tools import registry  # noqa: PLC0415  # it knows this tool

    name = words.next()
    if name not in kernel.namespaces():
        text = f'Cannot open network namespace "{name}": No such file or directory'
        raise UsageError(text, 255)
    return registry.run(kernel, name, list(words), "", now_ns)


def _namespaces(kernel: Kernel, words: Words, now_ns: int) -> str:
    """``ip netns [list]``, ``add NAME``, ``del NAME``."""
    verb = abbreviates(words.next(), "list", "show", "add", "delete") if words else "list"
    if verb == "add":
        kernel.execute(NetnsAdd(name=words.next()), now_ns)
    elif verb == "delete":
        kernel.execute(NetnsDel(name=words.next()), now_ns)
    elif verb in {"list", "show"}:
        return "".join(f"{ns}\n" for ns in kernel.namespaces() if ns)
    else:
        raise not_modelled("ip netns with this verb")
    return ""


def _object(
    kernel: Kernel, netns: str, name: str, words: Words, options: Options, now_ns: int
) -> str:
    if name == "netns":
        return _namespaces(kernel, words, now_ns)
    if options.json and name in {"rule", "neighbour", "neighbor"}:
        raise not_modelled(f"ip -j {name}")
    if options.statistics and name not in {"address", "link"}:
        raise not_modelled(f"ip -s {name}")
    ns = kernel.netns(netns)
    if name == "tunnel":
        verb = words.next() if words else "show"
        if not abbreviates(verb, "add"):
            raise not_modelled(f"ip tunnel {verb}")
        kernel.execute(tunnel_add(ns, words), now_ns)
        return ""
    if name == "address":
        return ip_link.addresses(kernel, ns, words, options, now_ns)
    if name == "link":
        return ip_link.links(kernel, ns, words, options, now_ns)
    if name == "route":
        return ip_route.routes(kernel, ns, words, options, now_ns)
    if name == "rule":
        return ip_rule.rules(kernel, ns, words, options, now_ns)
    return ip_neigh.neighbours(kernel, ns, words, options, now_ns)
