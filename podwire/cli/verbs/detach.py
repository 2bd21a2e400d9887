"""``podwire detach svc/NAME``: end what ``podwire attach`` began."""

from __future__ import annotations

import click

from podwire.cli.cluster import call, client, reach_option
from podwire.cli.verbs.attach import service_name
from podwire.client.attached import PATH


@click.command("detach", epilog="Example: podwire detach svc/webhook")
@reach_option
@click.option("-n", "--namespace", default="default", show_default=True, help="Of the Service.")
@click.argument("service", metavar="svc/NAME")
@click.argument("address", metavar="[HOST:PORT]", default="")
def command(name: str, namespace: str, service: str, address: str) -> None:
    """Take the processes that were attached to a Service (or the one at HOST:PORT) away."""
    asked = {"namespace": namespace, "service": service_name(service), "address": address}
    for slice_name in call(client(name), "DELETE", PATH, asked)["detached"]:
        click.echo(f"endpointslice.discovery.k8s.io/{slice_name} deleted")
