"""The ``podwire`` command: one file per verb, imported when named.

Exit codes: 0 yes, 1 no, 2 usage, 3 cluster unreachable, 4 unknown, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys

import click

from podwire import __version__
from podwire.cli.errors import EXIT_INTERRUPTED, Failure

VERBS = {
    "up": "Start a cluster.",
    "down": "Stop a cluster.",
    "get": "Show clusters, kubeconfig, components or endpoints.",
    "kubectl": "Run the real kubectl against a cluster.",
    "trace": "Walk a packet hop by hop and say why it arrived or died.",
    "compare": "Compare what could be chosen (proxy modes), in virtual time.",
    "attach": "Put a process of this machine behind a Service.",
    "detach": "Take it away again.",
    "node": "Run a command on a modelled node.",
    "load": "Make a modelled node of what a real machine's tools printed.",
    "certs": "Issue certificates for a cluster whose rooms are processes.",
    "chaos": "Run chaos scenarios in virtual time.",
    "completion": "Print the shell completion script.",
}
"""Every verb with its one line, in the order of --help."""


class _Verbs(click.Group):
    """Lists verbs without importing them: --help must answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in their order."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, imported now."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"podwire.cli.verbs.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs and their lines."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: podwire up --detach --wait && kubectl get pods -A",
)
@click.version_option(__version__, prog_name="podwire")
def podwire() -> None:
    """A Kubernetes cluster and its network, emulated.

    Real clients, explainable packets, virtual time, seed replay; no containers, no root.
    """


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = podwire.main(prog_name="podwire", standalone_mode=False)
    except Failure as failure:
        click.echo(f"error: {failure}", err=True)
        sys.exit(failure.code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; nothing is left to tell
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
