"""``podwire chaos run FILE``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podwire.cli.cluster import dump, output_option
from podwire.cli.errors import EXIT_NO, EXIT_USAGE, Failure

if TYPE_CHECKING:
    from podwire.chaos.runner import Line


@click.group("chaos")
def command() -> None:
    """Run chaos scenarios in virtual time."""


@command.command("run", epilog="Example: podwire chaos run examples/chaos/pod-kill.yaml --seed 7")
@click.option("--seed", default=0, show_default=True, help="Decides every draw and interleaving.")
@click.option("--time-profile", help="fast, typical or slow, instead of the scenario's own.")
@click.option("-v", "verbose", is_flag=True, help="Also print the schedule-hash.")
@output_option("table", "json", "yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def execute(file: Path, seed: int, time_profile: str | None, verbose: bool, output: str) -> None:
    """Run a scenario; exit 0 when all went as the file says, 1 when not.

    The last line is the trace-hash: equal for equal files and seeds.
    """
    from podwire.chaos.runner import run  # noqa: PLC0415  the rooms are imported only here
    from podwire.chaos.scenario import ScenarioError, load  # noqa: PLC0415
    from podwire.sim.manifests import ManifestError  # noqa: PLC0415

    def show(line: Line) -> None:
        if output == "table":
            mark = "✓" if line.ok else "✗"
            took = f"  after {line.took_s:g}s" if line.took_s else ""
            click.echo(f"t+{line.at_s:<10.3f} {mark} {line.phase:<10} {line.text}{took}")

    try:
        outcome = run(
            load(file),
            file.parent,
            seed,
            show,
            hash_schedule=verbose,
            time_profile=time_profile or "",
        )
    except (ScenarioError, ManifestError) as error:
        raise Failure(str(error), EXIT_USAGE) from error
    if output == "table":
        told = "passed" if outcome.passed else "FAILED"
        click.echo(f"{outcome.scenario} {told}: {outcome.virtual_s:g} virtual seconds, seed {seed}")
    else:
        click.echo(dump(outcome.json(), output))
    if verbose:
        click.echo(f"schedule-hash: {outcome.schedule_hash}")
    click.echo(f"trace-hash: {outcome.trace_hash}")
    sys.exit(0 if outcome.passed else EXIT_NO)
