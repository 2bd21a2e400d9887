"""``podwire attach svc/NAME [PORT:]HOST:PORT``: a process of this machine behind a Service."""

from __future__ import annotations

import re
import signal
from types import FrameType

import click

from podwire.cli.cluster import call, client, reach_option
from podwire.cli.errors import EXIT_USAGE, Failure
from podwire.client.attached import PATH, AddressError, parse

_ADDRESS = re.compile(r"(?:(?P<port>[^:\[\]]+):)?(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<number>[0-9]+)")


@click.command("attach", epilog="Example: podwire attach svc/webhook 127.0.0.1:9443")
@reach_option
@click.option("-n", "--namespace", default="default", show_default=True, help="Of the Service.")
@click.option("--detach", is_flag=True, help="Do not stay; podwire detach ends it.")
@click.argument("service", metavar="svc/NAME")
@click.argument("address", metavar="[PORT:]HOST:PORT")
def command(name: str, namespace: str, detach: bool, service: str, address: str) -> None:
    """Make a process that listens at HOST:PORT an endpoint of a Service, until this command ends.

    PORT names the Service's port where it has several. Pods reach the process through the
    modelled network; admission webhooks of the Service are asked there, over TLS.
    """
    port, real = split(address)
    asked = {"namespace": namespace, "service": service_name(service)}
    rest = client(name)
    made = call(rest, "POST", PATH, {**asked, "address": real, "port": port})
    click.echo(f"endpointslice.discovery.k8s.io/{made['metadata']['name']} leads to {real}")
    if detach:
        return
    click.echo("Press Ctrl-C to detach.", err=True)
    # A stop by signal detaches, too.
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        call(rest, "DELETE", PATH, {**asked, "address": real})


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def service_name(text: str) -> str:
    """``svc/NAME``, ``service/NAME`` or NAME. Raises Failure."""
    kind, slash, name = text.rpartition("/")
    if (slash and kind not in {"svc", "service", "services"}) or not name:
        raise Failure(f"{text!r}: give svc/NAME", EXIT_USAGE)
    return name


def split(text: str) -> tuple[str, str]:
    """The Service's port ("" when it is not named) and the real address. Raises Failure."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise Failure(f"{text!r}: give [PORT:]HOST:PORT, as in 127.0.0.1:9443", EXIT_USAGE)
    real = f"{found['host']}:{found['number']}"
    try:
        parse(real)
    except AddressError as error:
        raise Failure(str(error), EXIT_USAGE) from error
    return found["port"] or "", real
