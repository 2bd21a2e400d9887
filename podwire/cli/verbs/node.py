"""``podwire node exec NODE -- COMMAND...``, and the switches of a node: power, kubelet."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from podwire.cli.cluster import call, client, reach_option
from podwire.cli.errors import EXIT_USAGE, Failure


@click.group("node")
def command() -> None:
    """Run a command on a modelled node; switch the node or its kubelet off and on."""


@command.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: podwire node exec node-1 -- iptables-save -t nat",
)
@reach_option
@click.option("-f", "--filename", "files", multiple=True, help="Look at a node that was loaded "
              "from a dump (podwire load): network tools only, and nothing they change is kept.",
              type=click.Path(exists=True, dir_okay=False, path_type=Path))  # fmt: skip
@click.option("-i", "--stdin", "stdin", is_flag=True, help="Give COMMAND what stdin holds.")
@click.argument("node")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def execute(
    name: str, files: tuple[Path, ...], stdin: bool, node: str, argv: tuple[str, ...]
) -> None:
    """Run COMMAND in the node's own network namespace; its exit code is this command's.

    It is what "ssh NODE COMMAND" does in life: tools of the kernel, a shell, curl, dig, ping.
    """
    words = list(argv[1:] if argv[0] == "--" else argv)
    given = sys.stdin.read() if stdin else ""
    if files:
        sys.exit(_on_dump(files, node, words, given))
    answer = call(
        client(name),
        "POST",
        f"/apis/podwire.dev/v1alpha1/nodes/{node}/exec",
        {"argv": words, "stdin": given},
    )
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    sys.exit(answer["code"])


def _on_dump(files: tuple[Path, ...], node: str, words: list[str], stdin: str) -> int:
    """Run a tool of the network on a dumped node; its exit code."""
    from podwire.cli import dumps  # noqa: PLC0415  only with -f
    from podwire.dataplane.dump.load import NOW_NS  # noqa: PLC0415

    chosen = [dump for dump in dumps.read_files(files) if dump.name == node]
    if not chosen:
        raise Failure(f"there is no dump of node {node} in these files", EXIT_USAGE)
    (loaded,) = dumps.load_all(chosen[:1])
    out, err, code = loaded.kernel.tool("", words, stdin, NOW_NS)
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


@command.command("power-off", epilog="Example: podwire node power-off node-3")
@reach_option
@click.option("--graceful", is_flag=True, help="First let its kubelet end its pods.")
@click.argument("node")
def power_off(name: str, node: str, graceful: bool) -> None:
    """Pull the plug of NODE: kernel and pods are gone, the disk stays.

    With --graceful it is what "systemctl poweroff" does on NODE: its kubelet ends regular, then
    critical pods (shutdownGracePeriod 30s, shutdownGracePeriodCriticalPods 10s).
    """
    _switch(name, node, "power", "off", graceful=graceful)


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


def _switch(name: str, node: str, what: str, state: str, *, graceful: bool = False) -> None:
    """Switch, and say what the node is like now."""
    path = f"/apis/podwire.dev/v1alpha1/nodes/{node}/{what}"
    asked = {what: state, **({"graceful": True} if graceful else {})}
    answer = call(client(name), "POST", path, asked, 90 if graceful else 30)
    click.echo(f"{answer['node']}: power {answer['power']}, kubelet {answer['kubelet']}")
