"""``podwire node exec NODE -- COMMAND...``."""

from __future__ import annotations

import sys

import click

from podwire.cli.cluster import call, client, reach_option


@click.group("node")
def command() -> None:
    """Run a command on a modelled node."""


@command.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: podwire node exec node-1 -- iptables-save -t nat",
)
@reach_option
@click.option("-i", "--stdin", "stdin", is_flag=True, help="Give COMMAND what stdin holds.")
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def execute(name: str, stdin: bool, node: str, argv: tuple[str, ...]) -> None:
    """Run COMMAND in the node's own network namespace; its exit code is this command's.

    It is what "ssh NODE COMMAND" does in life: tools of the kernel, a shell, curl, dig, ping.
    """
    words = list(argv[1:] if argv[0] == "--" else argv)
    answer = call(
        client(name),
        "POST",
        f"/apis/podwire.dev/v1alpha1/nodes/{node}/exec",
        {"argv": words, "stdin": sys.stdin.read() if stdin else ""},
    )
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    sys.exit(answer["code"])
