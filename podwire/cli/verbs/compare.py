"""``podwire compare proxy-modes``: what each mode of kube-proxy costs, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from podwire.cli.cluster import dump, output_option, table
from podwire.cli.errors import EXIT_USAGE, Failure
from podwire.dataplane.cost import Cost, duration_words

if TYPE_CHECKING:
    from podwire.sim.proxymodes import Row, Spread

_MODES = ("iptables", "ipvs", "nftables", "ebpf")
_DIGITS = 9


def _words(text: str) -> tuple[str, ...]:
    """Words with commas between, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))


def _modes(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[str, ...]:
    for word in _words(text):
        if word not in _MODES:
            raise click.BadParameter(f"{word!r} is not one of {', '.join(_MODES)}")
    return _words(text)


def _numbers(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[int, ...]:
    for word in _words(text):
        if not word.isascii() or not word.isdecimal() or len(word) > _DIGITS:
            raise click.BadParameter(f"{word!r} is no number such as 1000")
    return tuple(dict.fromkeys(int(word) for word in _words(text)))


def _complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The modes that may follow those already there."""
    done, comma, begun = incomplete.rpartition(",")
    left = (mode for mode in _MODES if mode not in _words(done))
    return [f"{done}{comma}{mode}" for mode in left if mode.startswith(begun)]


@click.group("compare")
def command() -> None:
    """Compare what could be chosen, in virtual time; no cluster is needed."""


@command.command(
    "proxy-modes", epilog="Example: podwire compare proxy-modes --services 100,1000 -o yaml"
)
@click.option("--services", default="10,100,1000,10000", show_default=True, callback=_numbers,
              metavar="N,...", help="How many Services there are.")  # fmt: skip
@click.option("--endpoints", default=5, show_default=True, help="Of each Service.")
@click.option("--modes", default=",".join(_MODES), show_default=True, callback=_modes,
              metavar="MODE,...", shell_complete=_complete, help="Which modes.")  # fmt: skip
@click.option("--seed", default=0, show_default=True,
              help="Decides which endpoints and ports connections draw.")  # fmt: skip
@output_option("table", "json", "yaml")
def proxy_modes(
    services: tuple[int, ...], endpoints: int, modes: tuple[str, ...], seed: int, output: str
) -> None:
    """What a node's kernel holds in each mode, what a packet to a Service pays, what a sync takes.

    Rules and lookups are those of a real kernel, counted while packets walk what each mode writes;
    times are estimates (docs/kube-proxy.md has their sources). Equal seeds give equal tables.
    """
    from podwire.sim.proxymodes import Asked, compare  # noqa: PLC0415  the rooms, only when asked

    try:
        asked = Asked(services=services, endpoints=endpoints, modes=modes, seed=seed)
    except ValueError as error:
        raise Failure(str(error), EXIT_USAGE) from error
    try:
        rows = list(compare(asked, lambda told: click.echo(f" • {told} ...", err=True)))
    except RuntimeError as error:
        raise Failure(str(error)) from error
    if output == "table":
        click.echo(_tables(rows))
    else:
        click.echo(dump({**msgspec.to_builtins(asked), "rows": msgspec.to_builtins(rows)}, output))


def _tables(rows: Sequence[Row]) -> str:
    held = [["SERVICES", "MODE", "RULES", "ELEMENTS", "SERVERS", "WRITTEN", "FULL SYNC",
             "ONE ENDPOINT", "TIMES FROM"]]  # fmt: skip
    paid = [["SERVICES", "MODE", "FIRST: RULES", "LOOKUPS", "TIME", "LATER: RULES", "LOOKUPS",
             "TIME"]]  # fmt: skip
    for row in rows:
        head = [f"{row.services:,}", row.mode]
        kernel = row.kernel
        servers = kernel.virtual_servers + kernel.real_servers
        held.append([
            *head, f"{kernel.rules:,}", f"{kernel.elements:,}", f"{servers:,}",
            _size_words(row.text_bytes), _seconds(row.full_sync_s), _seconds(row.endpoint_change_s),
            row.sync_source,
        ])  # fmt: skip
        paid.append([*head, *_packet(row.first_packet), *_packet(row.established_packet)])
    return "\n".join([
        "what a node's kernel holds, and how long kube-proxy takes to write it",
        table(held),
        "",
        "what a packet from a pod to a ClusterIP pays on its node: the median (the most)",
        table(paid),
    ])  # fmt: skip


def _packet(spread: Spread) -> list[str]:
    def both(middle: str, most: str) -> str:
        return middle if middle == most else f"{middle} ({most})"

    def words(cost: Cost) -> tuple[str, str, str]:
        rules, lookups = f"{cost.rules_traversed:,}", f"{cost.lookups:,}"
        return rules, lookups, duration_words(cost.latency_ns)

    pairs = zip(words(spread.median), words(spread.most), strict=True)
    return [both(middle, most) for middle, most in pairs]


def _seconds(seconds: float) -> str:
    return duration_words(round(seconds * 1e9))


def _size_words(size_bytes: int) -> str:
    """Bytes for people: ``27 kB``, ``17.6 MB``."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB"
