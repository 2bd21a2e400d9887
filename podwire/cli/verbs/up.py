"""``podwire up``: a cluster in this process, in the foreground or detached."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from podwire.cli import kubeconfig, modes, state
from podwire.cli.cluster import name_option
from podwire.cli.errors import EXIT_NO, EXIT_USAGE, Failure
from podwire.cli.serving import Asked, Report, serve_here, serve_processes, wait_for_running


def _whole(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    return path and path.absolute()


_AS_GIVEN = (
    "nodes", "cni", "proxy_mode", "ip_family", "ingress", "authorization_mode", "time_profile",
)  # fmt: skip
_FILES = ("audit_policy_file", "audit_log_path", "admission_control_config_file")
_LISTS = ("zones", "enable_admission_plugins", "disable_admission_plugins")
"""Options that become settings of the cluster: as they are, as absolute paths, as words."""
_KEEPING = (
    "etcd_prefix", "etcd_cafile", "etcd_certfile", "etcd_keyfile", "encryption_provider_config",
)  # fmt: skip
"""Options that say how the store is kept."""


@click.command("up", epilog="Example: podwire up --detach --wait && kubectl get nodes")
@name_option
@click.option("--nodes", default=3, show_default=True, help="How many nodes.")
@click.option("--cni", default="flannel", show_default=True, help="flannel or calico.")
@click.option(
    "--proxy-mode", default="iptables", show_default=True, help="iptables, ipvs, nftables or ebpf."
)
@click.option("--ip-family", default="ipv4", show_default=True, help="ipv4, ipv6 or dual.")
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
    callback=_whole,
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
@click.option(
    "--encryption-provider-config", default=None, metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False), callback=_whole,
    help="Encrypt resources in the store as this file says.",
)  # fmt: skip
@click.option(
    "--authorization-mode", default="RBAC", show_default=True,
    help="RBAC; AlwaysAllow lets any identity do everything.",
)  # fmt: skip
@click.option(
    "--audit-policy-file", default="", metavar="FILE", help="Log requests as this policy says.",
)  # fmt: skip
@click.option(
    "--audit-log-path", default="", metavar="FILE", help="Where they are logged (- for stdout)."
)
@click.option(
    "--enable-admission-plugins", default="", metavar="A,B,...",
    help="Run these besides those that always do (kube-apiserver's names).",
)  # fmt: skip
@click.option(
    "--disable-admission-plugins", default="", metavar="A,B,...", help="Do not run these."
)
@click.option(
    "--admission-control-config-file", default="", metavar="FILE",
    help="An AdmissionConfiguration, for plugins that have one.",
)  # fmt: skip
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
    port: int,
    kubeconfig_file: str | None,
    data_dir: Path | None,
    etcd: str | None,
    seed: int | None,
    processes: bool,
    detach: bool,
    wait: str | None,
    log_level: str,
    ready_fd: int,
    **given: Any,
) -> None:
    """Start a cluster.

    Runs in the foreground until Ctrl-C, or in the background with --detach. Starting a cluster
    that runs already is no error.
    """
    state.directory(name)
    wait_s = _seconds(wait)
    if _runs_already(name, kubeconfig_file, wait_s):
        return
    options = {
        **{option: given[option] for option in _AS_GIVEN},
        **{option: _absolute(given[option]) for option in _FILES},
        **{option: _words(given[option]) for option in _LISTS},
    }
    keeping = {option: given[option] for option in _KEEPING}
    keeping |= {"data_dir": data_dir, "etcd_servers": _urls(etcd)}
    target = _target(kubeconfig_file, data_dir, given["encryption_provider_config"])
    asked = Asked(
        name, options, keeping, port, target, seed, wait_s, log_level, Report(ready_fd),
    )  # fmt: skip
    _started(asked, detach=detach, processes=processes)


def _started(asked: Asked, *, detach: bool, processes: bool) -> None:
    if detach:
        asked.settings()
        _detached(asked.name)
    else:
        _serve(asked, processes=processes)


def _target(kubeconfig_file: str | None, data_dir: Path | None, keys: Path | None) -> Path:
    """The kubeconfig to write; whatever others can read of it and of other keys is told."""
    target = kubeconfig.write_target(kubeconfig_file, os.environ)
    for line in modes.warnings(data_dir, (target, keys)):
        click.echo(line, err=True)
    return target


def _words(listed: str) -> tuple[str, ...]:
    """What is between the commas."""
    return tuple(word.strip() for word in listed.split(",") if word.strip())


def _absolute(path: str) -> str:
    """A path that means the same in every folder; "" and "-" stay."""
    return str(Path(path).absolute()) if path not in {"", "-"} else path


def _runs_already(name: str, kubeconfig_file: str | None, wait_s: float | None) -> bool:
    """Whether the cluster runs; if so, its kubeconfig is copied and it is waited for."""
    running = state.load(name)
    if running is None:
        return False
    click.echo(f'Cluster "{name}" is running already at {running.server}', err=True)
    if kubeconfig_file:
        kubeconfig.copy(state.directory(name) / "kubeconfig", Path(kubeconfig_file))
    if wait_s is not None:
        wait_for_running(name, wait_s)
    return True


def _serve(asked: Asked, *, processes: bool) -> None:
    """Be the cluster, and say why not. Raises Failure."""
    try:
        if processes:
            serve_processes(asked)
        else:
            from podwire.runtime.memory import fewer_collections  # noqa: PLC0415  as light as this

            with fewer_collections():
                asyncio.run(serve_here(asked))
    except OSError as error:
        raise Failure(f"cannot listen on port {asked.port}: {error.strerror}") from error
    except kubeconfig.KubeconfigError as error:
        raise Failure(str(error)) from error


def _urls(etcd: str | None) -> tuple[str, ...]:
    """The URLs of ``--etcd``. Raises Failure (2) for an option without one."""
    servers = tuple(url.strip() for url in (etcd or "").split(",") if url.strip())
    if etcd is not None and not servers:
        raise Failure("--etcd: name a URL such as http://127.0.0.1:2379", EXIT_USAGE)
    return servers


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
            errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
            state.clear(name)
            raise Failure(
                (errors or told or ["the cluster did not start"])[-1],
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
