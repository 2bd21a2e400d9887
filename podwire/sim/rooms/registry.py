"""Every room that can be a process: its module, what it needs, and what it is told.

``python -m podwire.<room>`` comes here, and so does ``podwire up --processes``, which forks them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from podwire.client.identity import ROOMS
from podwire.sim.rooms import options as flags
from podwire.sim.rooms.options import Options
from podwire.sim.rooms.process import EXIT_USAGE, Main, run
from podwire.store import StoreOptions

_WHAT = {
    "apiserver": "The API server: HTTPS for kubectl, a framed counter for the other rooms.",
    "controllers": "Every controller of the cluster.",
    "scheduler": "The scheduler.",
    "kubelet": "The kubelets of the cluster's nodes (or of --serve-nodes).",
    "fabric": "The kernels of all nodes, the wires between them, and the doors to real sockets.",
    "cni": "CNI plugins and the node agents of flannel and Calico.",
    "kube-proxy": "kube-proxy, one program per node.",
    "coredns": "CoreDNS, one program per pod.",
    "ingress": "The Ingress controller, one program per pod.",
}


def module(room: str) -> Any:
    """The room's file below ``sim/rooms``: ``ROOM``, ``PEERS`` and ``main``."""
    return importlib.import_module(f"podwire.sim.rooms.{room.replace('-', '_')}")


def entry(room: str) -> Main:
    """What a room's process runs."""
    main: Main = module(room).main
    return main


def _apiserver(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace, Options], None]:
    add = parser.add_argument
    add("--secure-listen", default="127.0.0.1:6443", metavar="HOST:PORT", help="for HTTPS")
    add("--shown-as", default="", metavar="HOST:PORT", help="the same as seen from outside")
    add("--data-dir", type=Path, default=None, help="keep objects in files of this folder")
    add("--etcd-servers", default="", metavar="URL,...", help="keep objects in etcd")
    add("--etcd-prefix", default="", help="put before every key of etcd")
    add("--etcd-cafile", default="", help="authority of etcd's certificate")
    add("--etcd-certfile", default="", help="client certificate for etcd")
    add("--etcd-keyfile", default="", help="its key")
    add("--encryption-provider-config", type=Path, default=None, help="which resources to encrypt")
    add("--audit-policy-file", default="", help="log requests as this policy says")
    add("--audit-log-path", default="", help="where they are logged (- for stdout)")
    for flag, what in (
        ("--enable-admission-plugins", "run besides those that always do"),
        ("--disable-admission-plugins", "do not run"),
    ):
        name = f"PODWIRE_{flag.removeprefix('--').replace('-', '_').upper()}"
        add(flag, default=os.environ.get(name, ""), metavar="A,B,...", help=f"plugins that {what}")
    add("--admission-control-config-file", default="", help="what plugins are told")

    def apply(given: argparse.Namespace, told: Options) -> None:
        told.secure = flags.host_port("--secure-listen", given.secure_listen)
        told.shown_api = given.shown_as and flags.host_port("--shown-as", given.shown_as)
        told.settings = replace(
            told.settings,
            audit_policy_file=given.audit_policy_file,
            audit_log_path=given.audit_log_path,
            enable_admission_plugins=_words(given.enable_admission_plugins),
            disable_admission_plugins=_words(given.disable_admission_plugins),
            admission_control_config_file=given.admission_control_config_file,
        )
        told.store = StoreOptions(
            data_dir=given.data_dir,
            etcd_servers=tuple(url.strip() for url in given.etcd_servers.split(",") if url.strip()),
            etcd_prefix=given.etcd_prefix,
            etcd_cafile=given.etcd_cafile,
            etcd_certfile=given.etcd_certfile,
            etcd_keyfile=given.etcd_keyfile,
            encryption_provider_config=given.encryption_provider_config,
        )

    return apply


def _words(listed: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in listed.split(",") if word.strip())


def _kubelet(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace, Options], None]:
    add = parser.add_argument
    add("--serve-nodes", default="", metavar="NODE,...", help="these nodes only; all by default")
    add("--advertise", default="", metavar="HOST:PORT", help="where the API server finds this room")

    def apply(given: argparse.Namespace, told: Options) -> None:
        told.node_names = tuple(name for name in given.serve_nodes.split(",") if name)
        told.advertise = given.advertise and flags.host_port("--advertise", given.advertise)
        unknown = [n for n in told.node_names if n not in told.settings.node_names]
        if unknown:
            raise ValueError(f"--serve-nodes: the cluster has no node {', '.join(unknown)}")

    return apply


def _fabric(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace, Options], None]:
    add = parser.add_argument
    add("--publish-host", default="127.0.0.1", help="real address of DNS, NodePorts and Ingress")
    add("--publish-ports", default="", metavar="A-B,C", help="only these; any by default")
    add("--dns-port", type=int, default=0, help="real port of DNS, beside --publish-ports")
    add("--http-port", type=int, default=0, help="real port of the Ingress controller")
    add("--https-port", type=int, default=0, help="and of its TLS")
    add("--publish-shown-as", default="", metavar="HOST", help="the address as seen from outside")

    def apply(given: argparse.Namespace, told: Options) -> None:
        told.publish_host, told.publish_shown = given.publish_host, given.publish_shown_as
        doors = {
            "dns": given.dns_port,
            "ingress http": given.http_port,
            "ingress https": given.https_port,
        }
        told.doors = {name: port for name, port in doors.items() if port}
        told.publish_ports = _ports(given.publish_ports)
        if told.publish_ports:
            told.publish_ports += tuple(told.doors.values())

    return apply


_MORE = {"apiserver": _apiserver, "kubelet": _kubelet, "fabric": _fabric}


def _ports(text: str) -> tuple[int, ...]:
    """``30000-30009,30443`` as numbers. Raises ValueError."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers or not 0 < numbers[0] <= numbers[-1] < 65536:
            raise ValueError(f"--publish-ports: {part!r} is no port and no range of ports")
        found += numbers
    return tuple(found)


def main(room: str, argv: list[str] | None = None) -> int:
    """The command line of a room; its exit code."""
    assert room in ROOMS, room
    peers = module(room).PEERS
    parser = flags.parser(room, _WHAT[room], peers)
    apply = _MORE[room](parser) if room in _MORE else None
    given = parser.parse_args(argv)
    try:
        told = flags.options(room, given, peers)
        if apply is not None:
            apply(given, told)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  a command line's answer
        return EXIT_USAGE
    return run(told, entry(room))
