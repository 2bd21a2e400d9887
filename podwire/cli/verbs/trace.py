"""``podwire trace SRC DST``: where a packet goes, and why it stops."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from podwire.api.status import ApiError
from podwire.cli import state
from podwire.cli.cluster import call, client, dump, output_option, reach_option
from podwire.cli.errors import EXIT_NO, EXIT_UNREACHABLE, EXIT_USAGE, Failure
from podwire.explain.report import DEFAULT_SIZE_BYTES, Report, TraceSpec
from podwire.explain.table import render

_TIMEOUT_S = 60.0
_AWAY = ("ServiceUnavailable", "InternalError", "Timeout")
"""Answers that blame the cluster, not the question."""
_NODES, _CNI = 3, "calico"
"""Of the simulation that ``-f`` boots, unless told otherwise."""


@click.command(
    "trace",
    epilog="Example: podwire trace pod/frontend svc/backend:80",
)
@reach_option
@click.option(
    "-f", "--filename", "files", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Boot a simulation, apply these manifests (files or folders), trace there and exit. "
    "Or: nodes that were loaded from dumps (podwire load), trace through their kernels.",
)  # fmt: skip
@click.option("-n", "--namespace", default="default", show_default=True, help="Of SRC and DST.")
@click.option("--destination-namespace", default="", help="Of DST, when another.")
@click.option(
    "--protocol", type=click.Choice(["tcp", "udp", "icmp"]), default="tcp", show_default=True
)
@click.option("--sport", default=0, type=click.IntRange(0, 65535), help="Source port.")
@click.option("--draw", default=None, type=click.FloatRange(0, 1, max_open=True),
              help="Which load-balancing branch is the drawn one.")  # fmt: skip
@click.option("--size", default=DEFAULT_SIZE_BYTES, type=click.IntRange(28, 65535),
              show_default=True, help="Bytes of the packet; it may not be fragmented.")  # fmt: skip
@click.option("--url", default="", help="With ingress/NAME: what is asked for "
              "(default: what its first rule serves).")  # fmt: skip
@click.option("--in", "entry", default="", metavar="DEVICE", help="With dumps: where a packet of "
              "SRC comes in, if its address does not say (NODE/DEVICE of several).")  # fmt: skip
@click.option(
    "--nodes", default=_NODES, show_default=True, help="With -f: nodes of the simulation."
)
@click.option("--cni", default=_CNI, show_default=True, help="With -f: CNI profile.")
@click.option("--seed", default=0, show_default=True, help="With -f: seed of the simulation.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Print ASCII only.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Also show steps without effect, and the way back."
)
@output_option("table", "wide", "json", "yaml")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST[:PORT]")
def command(
    name: str,
    files: tuple[Path, ...],
    namespace: str,
    destination_namespace: str,
    protocol: str,
    sport: int,
    draw: float | None,
    size: int,
    url: str,
    entry: str,
    nodes: int,
    cni: str,
    seed: int,
    ascii_only: bool,
    verbose: bool,
    output: str,
    source: str,
    destination: str,
) -> None:
    """Walk a packet from SRC to DST hop by hop and say why it arrived or died.

    SRC and DST are pod/NAME, deploy/NAME, svc/NAME, node/NAME or an address; SRC may be external
    (the world outside); DST may be a name, which is looked up as SRC would, or ingress/NAME, which
    is asked for --url. Through dumps, SRC and DST are node/NAME or an address. Exit code: 0 every
    branch arrives, 1 one fails, 2 usage, 3 cluster unreachable, 4 not modelled.
    """
    spec = TraceSpec(
        source=source,
        destination=destination,
        namespace=namespace,
        destination_namespace=destination_namespace,
        protocol=protocol,
        source_port=sport,
        draw=draw,
        size_bytes=size,
        url=url,
    )
    options = [f"-f {file}" for file in files]
    if files and _are_dumps(files):
        report = _through_dumps(spec, files, entry)
    elif entry:
        raise Failure("--in is for dumps of nodes (-f FILE of podwire load)", EXIT_USAGE)
    elif files:
        report = _simulated(spec, files, nodes, cni, seed)
        options += [f"--seed {seed}"]
        options += [f"--nodes {nodes}"] if nodes != _NODES else []
        options += [f"--cni {cni}"] if cni != _CNI else []
    else:
        report = _live(spec, name)
        options = [] if name == state.DEFAULT_NAME else [f"--name {name}"]
    words = " ".join(["podwire trace", *options])
    report = msgspec.structs.replace(
        report, replay=report.replay.replace("podwire trace", words, 1)
    )
    if output in {"table", "wide"}:
        wide = output == "wide"
        click.echo(render(report, ascii_only=ascii_only, verbose=verbose, wide=wide))
    else:
        click.echo(dump(msgspec.to_builtins(report), output))
    sys.exit(report.exit_code)


def _are_dumps(files: tuple[Path, ...]) -> bool:
    """Whether the files are dumps of nodes; they are not mixed with manifests."""
    from podwire.cli import dumps  # noqa: PLC0415  only with -f

    kinds = {dumps.holds_dumps(file) for file in files}
    if len(kinds) > 1:
        raise Failure("-f takes manifests or dumps of nodes, not both", EXIT_USAGE)
    return kinds == {True}


def _through_dumps(spec: TraceSpec, files: tuple[Path, ...], entry: str) -> Report:
    from podwire.cli import dumps  # noqa: PLC0415  only with -f
    from podwire.explain.dumps import PlaceError, trace  # noqa: PLC0415
    from podwire.runtime.rng import SeededRng  # noqa: PLC0415

    if spec.url:
        raise Failure("a url is asked of ingress/NAME only, of which dumps know none", EXIT_USAGE)
    try:
        return trace(dumps.load_all(dumps.read_files(files)), spec, SeededRng(0), entry)
    except PlaceError as error:
        raise Failure(str(error), EXIT_USAGE) from error


def _live(spec: TraceSpec, name: str) -> Report:
    body = {
        "apiVersion": "podwire.dev/v1alpha1",
        "kind": "Trace",
        "spec": msgspec.to_builtins(spec),
    }
    try:
        answer: Any = call(
            client(name), "POST", "/apis/podwire.dev/v1alpha1/traces", body, _TIMEOUT_S
        )
    except Failure as failure:
        if failure.code != EXIT_NO:
            raise
        refused = failure.__cause__
        away = isinstance(refused, ApiError) and refused.reason in _AWAY
        raise Failure(str(failure), EXIT_UNREACHABLE if away else EXIT_USAGE) from failure
    return msgspec.convert(answer["status"], Report)


def _simulated(spec: TraceSpec, files: tuple[Path, ...], nodes: int, cni: str, seed: int) -> Report:
    from podwire.sim.manifests import ManifestError, load  # noqa: PLC0415  rooms: only here
    from podwire.sim.settings import ClusterSettings  # noqa: PLC0415
    from podwire.sim.virtual import NotConvergedError, trace_manifests  # noqa: PLC0415

    try:
        settings = ClusterSettings(nodes=nodes, cni=cni, time_profile="fast")
        return trace_manifests(load(files), spec, settings, seed)
    except (ValueError, ManifestError) as error:
        raise Failure(str(error), EXIT_USAGE) from error
    except ApiError as error:
        raise Failure(error.message, EXIT_USAGE) from error
    except NotConvergedError as error:
        raise Failure(str(error)) from error
