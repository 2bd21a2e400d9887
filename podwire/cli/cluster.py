"""Options and calls that verbs share: which cluster, how to reach it, how to print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from podwire.api.status import ApiError
from podwire.cli import state
from podwire.cli.errors import EXIT_NO, EXIT_UNREACHABLE, Failure
from podwire.client.rest import RestClient, Unreachable

NAME_ENV = "PODWIRE_CLUSTER_NAME"


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


def output_option(*choices: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-o``: how to print."""
    return click.option(
        "-o", "--output", type=click.Choice(choices), default=choices[0], show_default=True,
        help="Output format.",
    )  # fmt: skip


def client(name: str) -> RestClient:
    """A client of a running cluster. Raises Failure (3)."""
    running = state.require(name)
    try:
        return RestClient(str(state.directory(running.name) / "kubeconfig"))
    except Unreachable as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error


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
