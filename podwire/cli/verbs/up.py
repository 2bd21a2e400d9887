"""``podwire up``: a cluster in this process, in the foreground or detached."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from podwire.cli import kubeconfig, state
from podwire.cli.cluster import call, client, name_option
from podwire.cli.errors import EXIT_NO, EXIT_UNREACHABLE, EXIT_USAGE, Failure
from podwire.runtime.files import write_private


@click.command("up", epilog="Example: podwire up --detach --wait && kubectl get nodes")
@name_option
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--cni", default="flannel", show_default=True, help="flannel or calico.")
@click.option("--proxy-mode", default="iptables", show_default=True, help="iptables.")
@click.option("--ingress", default="nginx", show_default=True, help="nginx or none.")
@click.option(
    "--zones", default="", metavar="A,B,...",
    help="Zones in which the nodes take turns (label topology.kubernetes.io/zone).",
)  # fmt: skip
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Of the API server; 0 takes a free one.",
)
@click.option(
    "--kubeconfig", "kubeconfig_file", default=None, envvar=None, metavar="FILE",
    help="Write the context only there (default: as kubectl finds it).",
)  # fmt: skip
@click.option(
    "--data-dir",
    default=None,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the cluster there; a later up goes on with it.",
)
@click.option(
    "--etcd",
    default=None,
    metavar="URL[,URL]",
    help="Keep the objects in this etcd (3.4 or newer).",
)
@click.option(
    "--etcd-prefix",
    default="",
    metavar="TEXT",
    help="Put before every key, so that clusters can share an etcd.",
)
@click.option("--etcd-cafile", default="", metavar="FILE", help="The CA of an https:// etcd.")
@click.option("--etcd-certfile", default="", metavar="FILE", help="Client certificate for it.")
@click.option("--etcd-keyfile", default="", metavar="FILE", help="And its key.")
@click.option("--time-profile", default="typical", show_default=True, help="fast, typical, slow.")
@click.option("--seed", default=None, type=int, help="Seed of randomness (default: drawn).")
@click.option(
    "--processes", is_flag=True, help="Run each room in a process of its own, as compose does."
)
@click.option("--detach", is_flag=True, help="Go on in the background.")
@click.option(
    "--wait", "wait", is_flag=False, flag_value="60s", default=None, metavar="[=60s]",
    help="Also wait for nodes and kube-system to be Ready.",
)  # fmt: skip
@click.option("--log-level", default="warning", show_default=True, help="debug, info, warning.")
@click.option("--ready-fd", default=-1, hidden=True)
def command(
    name: str,
    nodes: int,
    cni: str,
    proxy_mode: str,
    ingress: str,
    zones: str,
    port: int,
    kubeconfig_file: str | None,
    data_dir: Path | None,
    etcd: str | None,
    etcd_prefix: str,
    etcd_cafile: str,
    etcd_certfile: str,
    etcd_keyfile: str,
    time_profile: str,
    seed: int | None,
    processes: bool,
    detach: bool,
    wait: str | None,
    log_level: str,
    ready_fd: int,
) -> None:
    """Start a cluster.

    Runs in the foreground until Ctrl-C, or in the background with --detach. Starting a cluster
    that runs already is no error.
    """
    state.directory(name)
    wait_s = _seconds(wait)
    running = state.load(name)
    if running is not None:
        _use_running(name, running.server, kubeconfig_file, wait_s)
        return
    options = {
        "nodes": nodes,
        "cni": cni,
        "proxy_mode": proxy_mode,
        "ingress": ingress,
        "time_profile": time_profile,
        "zones": tuple(zone.strip() for zone in zones.split(",")) if zones else (),
    }
    keeping = {
        "data_dir": data_dir.absolute() if data_dir else None,
        "etcd_servers": _urls(etcd),
        "etcd_prefix": etcd_prefix,
        "etcd_cafile": etcd_cafile,
        "etcd_certfile": etcd_certfile,
        "etcd_keyfile": etcd_keyfile,
    }
    if detach:
        _validate(name, options)
        _detached(name)
        return
    report = _Report(ready_fd)
    target = kubeconfig.write_target(kubeconfig_file, os.environ)
    if processes:
        _serve_processes(name, options, keeping, port, target, seed, wait_s, log_level, report)
        return
    try:
        asyncio.run(_serve(name, options, keeping, port, target, seed, wait_s, log_level, report))
    except OSError as error:
        raise Failure(f"cannot listen on port {port}: {error.strerror}") from error
    except kubeconfig.KubeconfigError as error:
        raise Failure(str(error)) from error


def _urls(etcd: str | None) -> tuple[str, ...]:
    """The URLs of ``--etcd``. Raises Failure (2) for an option without one."""
    servers = tuple(url.strip() for url in (etcd or "").split(",") if url.strip())
    if etcd is not None and not servers:
        raise Failure("--etcd: name a URL such as http://127.0.0.1:2379", EXIT_USAGE)
    return servers


def _stderr(text: str) -> None:
    click.echo(text, err=True)


def _use_running(
    name: str, server: str, kubeconfig_file: str | None, wait_s: float | None
) -> None:  # fmt: skip
    """Do for a cluster that runs already what was asked for beside starting it."""
    click.echo(f'Cluster "{name}" is running already at {server}', err=True)
    if kubeconfig_file:
        kubeconfig.copy(state.directory(name) / "kubeconfig", Path(kubeconfig_file))
    if wait_s is not None:
        _wait_for_running(name, wait_s)


def _wait_for_running(name: str, wait_s: float, told: Callable[[str], None] = _stderr) -> None:
    path = f"/apis/podwire.dev/v1alpha1/ready?timeoutSeconds={math.ceil(wait_s)}"
    if not call(client(name), "GET", path, timeout_s=wait_s + 10)["ready"]:
        raise Failure(f"not Ready within {wait_s:g}s; see: kubectl get nodes,pods -A")
    told(" ✓ Nodes and kube-system Ready")


def _seconds(wait: str | None) -> float | None:
    if wait is None:
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    number = wait.rstrip("msh")
    unit = wait[len(number) :] or "s"
    try:
        return float(number) * units[unit]
    except (ValueError, KeyError):
        raise Failure(f"--wait {wait!r}: use a duration such as 60s or 2m", EXIT_USAGE) from None


def _validate(name: str, options: dict[str, Any]) -> Any:
    from podwire.sim.settings import ClusterSettings  # noqa: PLC0415  as light as the verb

    try:
        return ClusterSettings(name=name, **options)
    except ValueError as error:
        raise Failure(str(error), EXIT_USAGE) from error


class _Report:
    """Progress for people on stderr, or for the parent of a detached cluster on a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "w") if descriptor >= 0 else None

    def line(self, text: str) -> None:
        """One line of progress."""
        if self._pipe is not None:
            self._pipe.write(text + "\n")
            self._pipe.flush()
        else:
            click.echo(text, err=True)

    def done(self) -> None:
        """The parent may go."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


async def _serve(
    name: str,
    options: dict[str, Any],
    keeping: dict[str, Any],
    port: int,
    target: Path,
    seed: int | None,
    wait_s: float | None,
    log_level: str,
    report: _Report,
) -> None:
    settings = _validate(name, options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    from podwire.runtime.memory import fewer_collections, keep_what_lives  # noqa: PLC0415

    # The rooms are imported once the signals are caught: it takes a while.
    with fewer_collections():
        from podwire.api.status import ApiError  # noqa: PLC0415
        from podwire.runtime.env import real  # noqa: PLC0415
        from podwire.sim.keeping import StoreError, StoreOptions, open_kept  # noqa: PLC0415
        from podwire.sim.live import LiveCluster  # noqa: PLC0415

    env = real(seed, log_level)
    try:
        kept = await open_kept(env, settings, StoreOptions(**keeping))
    except StoreError as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    directory = state.create(name)
    cluster = LiveCluster(kept, settings, directory)
    written: Path | None = None
    try:
        await cluster.start(port)
        keep_what_lives()
        written = _announce(name, cluster, directory, target, report)
        if wait_s is not None:
            await _wait(cluster, wait_s, report, stop)
        report.done()
        await stop.wait()
    except (StoreError, ApiError) as error:
        raise Failure(f"the cluster did not start: {error}", EXIT_UNREACHABLE) from error
    finally:
        await cluster.stop()
        if written is not None:
            kubeconfig.remove([written], name)
        state.clear(name)


def _serve_processes(
    name: str,
    options: dict[str, Any],
    keeping: dict[str, Any],
    port: int,
    target: Path,
    seed: int | None,
    wait_s: float | None,
    log_level: str,
    report: _Report,
) -> None:
    """The same cluster with every room in a process of its own."""
    settings = _validate(name, options)
    from podwire.runtime.env import real  # noqa: PLC0415  as light as the verb
    from podwire.sim.keeping import StoreOptions  # noqa: PLC0415
    from podwire.sim.processes import (  # noqa: PLC0415
        ProcessCluster,
        RoomEndedError,
        stopped_by_signals,
    )

    directory = state.create(name)
    store = StoreOptions(**keeping)
    pki = (store.data_dir or directory) / "rooms"
    env = real(seed, log_level)
    try:
        cluster = ProcessCluster(env, settings, pki, store, port, log_level)
    except OSError as error:
        state.clear(name)
        raise Failure(f"cannot listen on port {port}: {error.strerror}") from error
    written: Path | None = None
    with stopped_by_signals(cluster):
        try:
            cluster.start()
            if cluster.wait_ready(("apiserver",)):
                written = _announce(name, cluster, directory, target, report)
            if cluster.wait_ready():
                report.line(f" ✓ {len(cluster.children)} rooms Ready in {_age_s():.1f}s")
                if wait_s is not None:
                    _wait_for_running(name, wait_s, report.line)
            report.done()
            cluster.wait()
        except RoomEndedError as error:
            raise Failure(f"the cluster did not start: {error}", error.code) from error
        except kubeconfig.KubeconfigError as error:
            raise Failure(str(error)) from error
        finally:
            cluster.stop()
            if written is not None:
                kubeconfig.remove([written], name)
            state.clear(name)


def _age_s() -> float:
    from podwire.runtime.clock import process_age_s  # noqa: PLC0415  as light as the verb

    return process_age_s()


def _announce(name: str, cluster: Any, directory: Path, target: Path, report: _Report) -> Path:
    config = kubeconfig.document(
        name,
        cluster.server_url,
        cluster.authority.pem,
        cluster.admin.certificate,
        cluster.admin.key,
    )
    own = directory / "kubeconfig"
    kubeconfig.merge(own, config)
    write_private(directory / "token", f"{cluster.token}\n".encode())
    kubeconfig.merge(target, config)
    state.save(state.State(name, os.getpid(), cluster.server_url, str(target)))
    report.line(f" ✓ API server ready at {cluster.server_url} in {_age_s():.1f}s")
    report.line(f' ✓ Set kubectl context to "{kubeconfig.context_name(name)}" in {target}')
    return target


async def _wait(cluster: Any, wait_s: float, report: _Report, stop: asyncio.Event) -> None:
    from podwire.runtime.tasks import first  # noqa: PLC0415

    report.line(" • Waiting for nodes and kube-system ...")
    try:
        async with asyncio.timeout(wait_s):
            await first(cluster.cluster.wait_ready(), stop.wait())
    except TimeoutError:
        report.line(f" ✗ Not Ready within {wait_s:g}s; see: kubectl get nodes,pods -A")
        return
    if not stop.is_set():
        report.line(f" ✓ Nodes and kube-system Ready in {_age_s():.1f}s")


def _detached(name: str) -> None:
    """Start the same command in a session of its own; follow its progress until it is ready."""
    directory = state.create(name)
    log = directory / "log"
    reader, writer = os.pipe()
    arguments = [word for word in sys.argv[1:] if word != "--detach"]
    # A cluster that does not start takes its directory with it: what it said is read from here.
    with log.open("w+") as output:
        child = subprocess.Popen(  # noqa: S603  our own command line
            [sys.executable, "-m", "podwire", *arguments, "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[writer],
        )
        os.close(writer)
        failed = _followed(reader)
        if state.load(name) is None:
            code = child.wait()
            output.seek(0)
            told = output.read().strip().splitlines()
            state.clear(name)
            raise Failure(
                told[-1].removeprefix("error: ") if told else "the cluster did not start",
                code if code > 0 else EXIT_NO,
            )
    if failed:
        sys.exit(EXIT_NO)
    click.echo(f"Stop it with: podwire down{_named(name)}", err=True)


def _followed(reader: int) -> bool:
    """Show the progress of a detached cluster to its end; whether it said that something failed."""
    failed = False
    with os.fdopen(reader) as progress:
        for line in progress:
            click.echo(line.rstrip("\n"), err=True)
            failed = failed or line.startswith(" ✗")
    return failed


def _named(name: str) -> str:
    return "" if name == state.DEFAULT_NAME else f" --name {name}"
