"""``podwire node exec NODE -- COMMAND...``, and the switches of a node: power, kubelet."""

from __future__ import annotations

import sys

import click

from podwire.cli.cluster import call, client, reach_option


@click.group("node")
def command() -> None:
    """Run a command on a modelled node; switch the node or its kubelet off and on."""


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


@command.command("power-off", epilog="Example: podwire node power-off node-3")
@reach_option
@click.argument("node")
def power_off(name: str, node: str) -> None:
    """Pull the plug of NODE: kernel and pods are gone, the disk stays."""
    _switch(name, node, "power", "off")


@command.command("power-on", epilog="Example: podwire node power-on node-3")
@reach_option
@click.argument("node")
def power_on(name: str, node: str) -> None:
    """Boot NODE, with a new boot id; its kubelet starts."""
    _switch(name, node, "power", "on")


@command.command("stop-kubelet", epilog="Example: podwire node stop-kubelet node-3")
@reach_option
@click.argument("node")
def stop_kubelet(name: str, node: str) -> None:
    """End the kubelet of NODE, and with it the programs it runs; the kernel goes on."""
    _switch(name, node, "kubelet", "stopped")


@command.command("start-kubelet", epilog="Example: podwire node start-kubelet node-3")
@reach_option
@click.argument("node")
def start_kubelet(name: str, node: str) -> None:
    """Start the kubelet of NODE."""
    _switch(name, node, "kubelet", "running")


def _switch(name: str, node: str, what: str, state: str) -> None:
    """Switch, and say what the node is like now."""
    path = f"/apis/podwire.dev/v1alpha1/nodes/{node}/{what}"
    answer = call(client(name), "POST", path, {what: state})
    click.echo(f"{answer['node']}: power {answer['power']}, kubelet {answer['kubelet']}")
