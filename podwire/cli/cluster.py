"""Options and calls that verbs share: which cluster, how to reach it, how to print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from podwire.api.status import ApiError
from podwire.cli import kubeconfig, state
from podwire.cli.errors import EXIT_NO, EXIT_UNREACHABLE, EXIT_USAGE, Failure
from podwire.client.rest import RestClient, Unreachable

NAME_ENV = "PODWIRE_CLUSTER_NAME"
_KUBECONFIG = "podwire.kubeconfig"


def name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--name``: which cluster."""
    return click.option(
        "--name",
        default=state.DEFAULT_NAME,
        envvar=NAME_ENV,
        show_default=True,
        help="Name of the cluster.",
        shell_complete=lambda *_: state.names(),
    )(command)


def reach_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--name`` and ``--kubeconfig``: which cluster, and where its address is found."""

    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        ctx.meta[_KUBECONFIG] = value

    return name_option(
        click.option(
            "--kubeconfig", metavar="FILE", expose_value=False, callback=remember,
            help="Find the cluster there (default: its own, else $KUBECONFIG).",
        )(command)
    )  # fmt: skip


def output_option(*choices: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-o``: how to print."""
    return click.option(
        "-o", "--output", type=click.Choice(choices), default=choices[0], show_default=True,
        help="Output format.",
    )  # fmt: skip


def locate(name: str) -> tuple[Path, str]:
    """The kubeconfig of a cluster and the context in it: of ``--kubeconfig``, else of a cluster of
    that name on this machine, else of the user's kubeconfig. Raises Failure (3).
    """
    explicit = click.get_current_context().meta.get(_KUBECONFIG)
    context = kubeconfig.context_name(name)
    if explicit:
        return Path(explicit), context if kubeconfig.has_context(Path(explicit), context) else ""
    if state.load(name) is not None:
        return state.directory(name) / "kubeconfig", ""
    for path in kubeconfig.candidates(None, os.environ):
        if kubeconfig.has_context(path, context):
            return path, context
    state.require(name)
    raise AssertionError("a cluster that is not running was required")


def client(name: str) -> RestClient:
    """A client of a cluster. Raises Failure (3)."""
    try:
        path, context = locate(name)
        return RestClient(str(path), context)
    except Unreachable as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    except kubeconfig.KubeconfigError as error:
        raise Failure(str(error), EXIT_USAGE) from error


def call(rest: RestClient, method: str, path: str, body: Any = None, timeout_s: float = 30) -> Any:
    """One request; what goes wrong becomes a Failure with its exit code."""
    try:
        return rest.request(method, path, body, timeout_s)
    except Unreachable as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    except ApiError as error:
        raise Failure(error.message or error.reason, EXIT_NO) from error


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, three spaces apart, as kubectl prints them; the first row is the header."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def dump(value: Any, output: str) -> str:
    """A value as JSON or YAML."""
    if output == "yaml":
        import yaml  # noqa: PLC0415  only when asked for

        return str(yaml.safe_dump(value, sort_keys=False)).rstrip()
    return json.dumps(value, indent=2)
