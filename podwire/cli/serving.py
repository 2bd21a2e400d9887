"""Being a cluster: in this process, or as one process per room; from its start to its end."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from podwire.cli import kubeconfig, state
from podwire.cli.cluster import call, client
from podwire.cli.errors import EXIT_NO, EXIT_UNREACHABLE, EXIT_USAGE, Failure
from podwire.runtime.files import write_private


class Report:
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``podwire up`` was asked for. ``options`` are ClusterSettings', ``keeping``
    StoreOptions'; ``wait_s`` None does not wait.
    """

    name: str
    options: dict[str, Any]
    keeping: dict[str, Any]
    port: int
    target: Path
    """The kubeconfig to write the context into."""
    seed: int | None
    wait_s: float | None
    log_level: str
    report: Report

    def settings(self) -> Any:
        """The cluster's settings. Raises Failure (2) for one that does not exist."""
        from podwire.sim.settings import ClusterSettings  # noqa: PLC0415  as light as the verb

        try:
            settings = ClusterSettings(name=self.name, **self.options)
            if settings.audit_policy_file:
                from podwire.apiserver.audit import policy  # noqa: PLC0415  pydantic, if asked for

                policy.load(Path(settings.audit_policy_file))
            if (
                settings.enable_admission_plugins
                or settings.disable_admission_plugins
                or settings.admission_control_config_file
            ):
                from podwire.apiserver.admission import check  # noqa: PLC0415  heavy, if asked for

                check(
                    settings.enable_admission_plugins,
                    settings.disable_admission_plugins,
                    settings.admission_control_config_file,
                )
        except (ValueError, OSError) as error:
            raise Failure(str(error), EXIT_USAGE) from error
        return settings


def _stderr(text: str) -> None:
    click.echo(text, err=True)


def wait_for_running(name: str, wait_s: float, told: Callable[[str], None] = _stderr) -> None:
    """Wait until a running cluster is Ready. Raises Failure when it is not in time."""
    path = f"/apis/podwire.dev/v1alpha1/ready?timeoutSeconds={math.ceil(wait_s)}"
    if not call(client(name), "GET", path, timeout_s=wait_s + 10)["ready"]:
        raise Failure(f"not Ready within {wait_s:g}s; see: kubectl get nodes,pods -A")
    told(" ✓ Nodes and kube-system Ready")


async def serve_here(asked: Asked) -> None:
    """Be the cluster until a signal. Raises Failure, OSError."""
    settings = asked.settings()
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

    env = real(asked.seed, asked.log_level)
    try:
        kept = await open_kept(env, settings, StoreOptions(**asked.keeping))
    except StoreError as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    directory = state.create(asked.name)
    cluster = LiveCluster(kept, settings, directory)
    written: Path | None = None
    try:
        await cluster.start(asked.port)
        keep_what_lives()
        written = _announce(asked, cluster, directory)
        if asked.wait_s is not None:
            await _wait(asked, cluster, stop)
        asked.report.done()
        await stop.wait()
    except (StoreError, ApiError) as error:
        raise Failure(f"the cluster did not start: {error}", EXIT_UNREACHABLE) from error
    finally:
        await cluster.stop()
        if written is not None:
            kubeconfig.remove([written], asked.name)
        state.clear(asked.name)


def serve_processes(asked: Asked) -> None:
    """The same with every room in a process of its own. Raises Failure."""
    settings = asked.settings()
    from podwire.runtime.memory import fewer_collections  # noqa: PLC0415  as light as the verb

    with fewer_collections():
        from podwire.runtime.env import real  # noqa: PLC0415
        from podwire.sim.keeping import StoreOptions  # noqa: PLC0415
        from podwire.sim.processes import (  # noqa: PLC0415
            ProcessCluster,
            RoomEndedError,
            stopped_by_signals,
        )

    directory = state.create(asked.name)
    store = StoreOptions(**asked.keeping)
    pki = (store.data_dir or directory) / "rooms"
    env = real(asked.seed, asked.log_level)
    try:
        cluster = ProcessCluster(env, settings, pki, store, asked.port, asked.log_level)
    except OSError as error:
        state.clear(asked.name)
        raise Failure(f"cannot listen on port {asked.port}: {error.strerror}") from error
    written: Path | None = None
    with stopped_by_signals(cluster):
        try:
            cluster.start()
            if cluster.wait_ready(("apiserver",)):
                written = _announce(asked, cluster, directory)
            if cluster.wait_ready():
                asked.report.line(f" ✓ {len(cluster.children)} rooms Ready in {_age_s():.1f}s")
                if asked.wait_s is not None:
                    wait_for_running(asked.name, asked.wait_s, asked.report.line)
            asked.report.done()
            cluster.wait()
        except RoomEndedError as error:
            cluster.kill()
            code = error.code if error.code > 0 else EXIT_NO  # killed by a signal
            raise Failure(f"the cluster did not start: {error}", code) from error
        finally:
            cluster.stop()
            if written is not None:
                kubeconfig.remove([written], asked.name)
            state.clear(asked.name)


def _age_s() -> float:
    from podwire.runtime.clock import process_age_s  # noqa: PLC0415  as light as the verb

    return process_age_s()


def _announce(asked: Asked, cluster: Any, directory: Path) -> Path:
    """Write kubeconfigs and state, and say so; the user's file that was written."""
    name, target = asked.name, asked.target
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
    asked.report.line(f" ✓ API server ready at {cluster.server_url} in {_age_s():.1f}s")
    asked.report.line(f' ✓ Set kubectl context to "{kubeconfig.context_name(name)}" in {target}')
    return target


async def _wait(asked: Asked, cluster: Any, stop: asyncio.Event) -> None:
    from podwire.runtime.tasks import first  # noqa: PLC0415

    asked.report.line(" • Waiting for nodes and kube-system ...")
    try:
        async with asyncio.timeout(asked.wait_s):
            await first(cluster.cluster.wait_ready(), stop.wait())
    except TimeoutError:
        asked.report.line(f" ✗ Not Ready within {asked.wait_s:g}s; see: kubectl get nodes,pods -A")
        return
    if not stop.is_set():
        asked.report.line(f" ✓ Nodes and kube-system Ready in {_age_s():.1f}s")
