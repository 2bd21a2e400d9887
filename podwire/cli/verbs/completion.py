"""``podwire completion SHELL``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from podwire.cli.errors import EXIT_USAGE, Failure


@click.command("completion", epilog='Example: eval "$(podwire completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from podwire.cli.main import podwire  # noqa: PLC0415  it imports this verb lazily

    completion = get_completion_class(shell)
    if completion is None:
        raise Failure(f"no completion for {shell}", EXIT_USAGE)
    click.echo(completion(podwire, {}, "podwire", "_PODWIRE_COMPLETE").source())
