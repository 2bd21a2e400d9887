"""``podwire down``: stop a cluster."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

import click

from podwire.cli import kubeconfig, state
from podwire.cli.cluster import name_option

_GRACE_MS = 15_000


@click.command("down", epilog="Example: podwire down --name podwire")
@name_option
def command(name: str) -> None:
    """Stop a cluster and take its context out of the kubeconfig. Twice is no error."""
    running = state.load(name)
    if running is None:
        click.echo(f'No cluster "{name}" is running.', err=True)
    else:
        if not _end(running.pid, signal.SIGTERM):
            click.echo(f" • {name} does not stop; killing it", err=True)
            _end(running.pid, signal.SIGKILL)
        click.echo(f'Stopped cluster "{name}".', err=True)
    # What a killed cluster could not take away itself:
    paths = kubeconfig.candidates(None, os.environ)
    if running is not None:
        paths.append(Path(running.kubeconfig))
    kubeconfig.remove(paths, name)
    state.clear(name)


def _end(pid: int, number: signal.Signals) -> bool:
    """Send a signal and wait for the process to end; whether it did."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(_GRACE_MS))
    finally:
        os.close(descriptor)
