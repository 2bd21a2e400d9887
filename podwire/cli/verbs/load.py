"""``podwire load node NAME``: a real machine's network as a modelled node, offline."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podwire.cli import dumps
from podwire.cli.cluster import dump as dumped
from podwire.cli.cluster import output_option, table
from podwire.cli.errors import EXIT_USAGE, Failure

if TYPE_CHECKING:
    from podwire.dataplane.dump.load import Loaded
    from podwire.dataplane.dump.text import Dump

_OPTIONS = {
    "ip-addr": "What `ip -d addr` printed (also without -d, or with -j).",
    "ip-link": "What `ip -d link` printed, for an ip addr without -d.",
    "ip-route": "`ip -4 route show table all`, then `ip -6 route show table all`.",
    "ip-rule": "`ip -4 rule`, then `ip -6 rule`.",
    "ip-neigh": "`ip neigh`.",
    "bridge-fdb": "`bridge fdb show`.",
    "sysctl": "`sysctl net` (or -a).",
    "ipset-save": "`ipset save`.",
    "iptables-save": "`iptables-save -c` (or iptables-legacy-save).",
    "ip6tables-save": "`ip6tables-save -c`.",
    "iptables-legacy-save": "`iptables-legacy-save -c`, if there are rules of both backends.",
    "ip6tables-legacy-save": "`ip6tables-legacy-save -c`.",
    "nft": "`nft list ruleset`.",
    "ipvsadm-save": "`ipvsadm-save -n`.",
    "conntrack": "`conntrack -L`.",
    "ss": "`ss -lntuH`.",
}
"""Every section of a dump and its help; ``dump.text.SECTIONS`` has the commands."""


@click.group("load")
def command() -> None:
    """Make a modelled node of what a real machine's tools printed.

    The node is a file: `podwire trace -f FILE SRC DST` walks packets through it, and
    `podwire node exec -f FILE NODE -- ip route` looks at it. No root, no cluster.
    """


def _section_options(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(_OPTIONS.items()):
        option = click.option(f"--{name}", metavar="FILE", default="", help=text,
                              type=click.Path(allow_dash=True))  # fmt: skip
        wrapped = option(wrapped)
    return wrapped


@command.command(
    "node",
    epilog="Example: podwire load node n1 --iptables-save rules.txt --ip-addr addr.txt "
    "--ip-route routes.txt && podwire trace -f n1.dump 10.1.2.3 10.96.0.10:53 --protocol udp",
)
@click.argument("name")
@_section_options
@click.option("--dump", "captured", metavar="FILE", default="",
              type=click.Path(allow_dash=True),
              help="What the script of `podwire load script` printed.")  # fmt: skip
@click.option("--to", "target", metavar="FILE", default="", help="Write here [default: NAME.dump]; "
              "- is standard output, and nothing else is said then.")  # fmt: skip
@output_option("table", "json", "yaml")
def node(name: str, captured: str, target: str, output: str, **files: str) -> None:
    """Check dumps of a machine and write them into one file, NAME.dump.

    A FILE of - is standard input. Text that does not parse is refused with file, line and column,
    and nothing is written. What parses and is not modelled loads: a packet that meets it ends
    UNKNOWN. Exit code: 0 written, 2 usage or refused.
    """
    from podwire.dataplane.dump.text import write  # noqa: PLC0415  rooms: only here

    if not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", name):
        raise Failure(f"{name!r} is no name of a node", EXIT_USAGE)
    made = _collected(name, captured, files)
    (loaded,) = dumps.load_all([made])
    text = write(name, made.sections)
    if target == dumps.STDIN:
        click.echo(text, nl=False)
        return
    path = Path(target or f"{name}.dump")
    _write(path, text)
    summary = _summary(loaded, str(path))
    if output != "table":
        click.echo(dumped(summary, output))
        return
    held: dict[str, int] = summary["holds"]
    click.echo(table([("NODE", "FILE", *(key.upper() for key in held)),
                      (name, str(path), *(str(count) for count in held.values()))]))  # fmt: skip
    for note in loaded.notes:
        click.echo(f"note: {note}", err=True)


def _collected(name: str, captured: str, files: dict[str, str]) -> Dump:
    """All sections that were given, by whichever way."""
    from podwire.dataplane.dump.text import Dump, Section  # noqa: PLC0415  rooms: only here

    given = {key.replace("_", "-"): path for key, path in files.items() if path}
    if [*given.values(), captured].count(dumps.STDIN) > 1:
        raise Failure("only one of the files can be standard input", EXIT_USAGE)
    sections = {}
    if captured:
        found = dumps.read_files([captured])
        if len(found) != 1:
            raise Failure(f"{captured}: {len(found)} nodes are in it", EXIT_USAGE)
        sections.update(found[0].sections)
    for key, path in given.items():
        text, source = dumps.read_text(path)
        sections[key] = Section(text, source)
    if not sections:
        raise Failure("nothing to load: give at least --iptables-save, --ip-addr or --dump",
                      EXIT_USAGE)  # fmt: skip
    return Dump(name, sections)


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failure(f"{path}: {error.strerror}", EXIT_USAGE) from error


def _summary(loaded: Loaded, file: str) -> dict[str, Any]:
    from podwire.dataplane.kernel import HOST  # noqa: PLC0415  rooms: only here

    ns = loaded.kernel.peek(HOST)
    assert ns is not None
    both = [*ns.netfilter.tables.values(), *ns.netfilter6.tables.values()]
    holds = {
        "devices": len(ns.links),
        "addresses": len(ns.local),
        "routes": sum(len(t.routes()) for f in (ns.fib, ns.fib6) for t in f.tables.values()),
        "iptables": sum(len(chain.rules) for chains in both for chain in chains.values()),
        "nft": sum(len(found.chains[name].rules) for found in ns.nft.ruleset.tables.values()
                   for name in found.chains),
        "ipsets": len(ns.ipsets.table),
        "ipvs": len(ns.ipvs.services),
        "flows": len(ns.conntrack),
    }  # fmt: skip
    return {"node": loaded.name, "file": file, "holds": holds, "notes": list(loaded.notes)}


@command.command(
    "script",
    epilog="Example: podwire load script | ssh root@n1 sh > n1.dump && "
    "podwire trace -f n1.dump node/n1 10.96.0.1:443",
)
def script() -> None:
    """Print a shell script that prints all dumps of the machine that it runs on.

    It needs sh and root there, changes nothing, and leaves out what is not installed. Its output
    is a file for trace -f; it holds addresses, rules and connections of that machine.
    """
    from podwire.dataplane.dump import text  # noqa: PLC0415  rooms: only here

    click.echo(text.script(), nl=False)
