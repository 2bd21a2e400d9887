"""``podwire get clusters|kubeconfig|components|endpoints``."""

from __future__ import annotations

from typing import Any

import click

from podwire.cli import state
from podwire.cli.cluster import call, client, dump, name_option, output_option, reach_option, table

_PREFIX = "/apis/podwire.dev/v1alpha1"


@click.group("get", epilog="Example: podwire get endpoints -o json")
def command() -> None:
    """Show clusters, kubeconfig, components or endpoints."""


@command.command("clusters")
@output_option("table", "json", "yaml")
def clusters(output: str) -> None:
    """List running clusters."""
    running = [state.require(name) for name in state.names()]
    if output != "table":
        click.echo(
            dump([{"name": s.name, "server": s.server, "pid": s.pid} for s in running], output)
        )
    elif running:
        click.echo(
            table([("NAME", "SERVER", "PID"), *((s.name, s.server, str(s.pid)) for s in running)])
        )
    else:
        click.echo("No podwire clusters found.", err=True)


@command.command("kubeconfig")
@name_option
def kubeconfig(name: str) -> None:
    """Print a cluster's kubeconfig."""
    running = state.require(name)
    click.echo((state.directory(running.name) / "kubeconfig").read_text(), nl=False)


@command.command("components")
@reach_option
@output_option("table", "json", "yaml")
def components(name: str, output: str) -> None:
    """List a cluster's rooms and whether they run."""
    answer = call(client(name), "GET", f"{_PREFIX}/components")
    _show(answer["items"], output, ("NAME", "STATUS", "MESSAGE"))


@command.command("endpoints")
@reach_option
@output_option("table", "json", "yaml")
def endpoints(name: str, output: str) -> None:
    """List the real addresses at which a cluster answers: API, DNS, Ingress, NodePorts."""
    answer = call(client(name), "GET", f"{_PREFIX}/endpoints")
    if output != "table":
        click.echo(dump(answer, output))
        return
    rows = [
        ("NAME", "PROTOCOL", "ADDRESS", "MODELLED"),
        ("api", "https", answer["api"], answer["apiModelled"]),
        ("dns", "udp,tcp", answer["dns"] or "<none>", answer["dnsModelled"] or "<none>"),
    ]
    named = [
        *((f"ingress {entry['port']}", entry) for entry in answer["ingress"]),
        *((f"nodePort {entry['service']}", entry) for entry in answer["nodePorts"]),
    ]
    rows += [
        (title, entry["protocol"], entry["address"] or "<none>", entry["modelled"])
        for title, entry in named
    ]
    rows += [
        (f"attached {entry['service']}", entry["protocol"], entry["address"], entry["modelled"])
        for entry in answer["attached"]
    ]
    click.echo(table(rows))
    for title, entry in named:
        if entry.get("message"):
            click.echo(f"{title} is not published: {entry['message']}", err=True)


def _show(items: list[dict[str, Any]], output: str, columns: tuple[str, ...]) -> None:
    if output != "table":
        click.echo(dump(items, output))
        return
    rows = [tuple(str(item.get(column.lower(), "")) for column in columns) for item in items]
    click.echo(table([columns, *rows]))
