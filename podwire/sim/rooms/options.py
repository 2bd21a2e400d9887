"""The flags of the rooms' processes."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podwire.client.identity import ROOMS, Identity
from podwire.runtime.log import LEVELS
from podwire.sim.settings import LOOPBACK, ClusterSettings
from podwire.store import StoreOptions

PKI = Path("/etc/podwire/pki")
PORT = 7443
"""Where every room listens for the others, each in a container of its own."""
MAX_PORT = 65535


@dataclass(slots=True)
class Options:
    """What one process is told. ``peers`` are the addresses of other rooms."""

    room: str
    settings: ClusterSettings = field(default_factory=ClusterSettings)
    pki: Path = PKI
    listen: str = f"127.0.0.1:{PORT}"
    advertise: str = ""
    """Where others find this room (``host:port``); "" is where it listens."""
    peers: dict[str, str] = field(default_factory=dict)
    secure: str = f"{LOOPBACK}:6443"
    """Where the API server listens for HTTPS."""
    store: StoreOptions = field(default_factory=StoreOptions)
    """Where the API server keeps objects."""
    shown_api: str = ""
    """The same as people outside a container see it."""
    publish_host: str = LOOPBACK
    """The real address on which modelled services are published."""
    publish_shown: str = ""
    """The same as people outside a container see it; "" is as it is."""
    publish_ports: tuple[int, ...] = ()
    """The only real ports to publish at; any by default."""
    doors: dict[str, int] = field(default_factory=dict)
    """Real ports that are kept for publications of these names."""
    node_names: tuple[str, ...] = ()
    """The nodes that this process serves; all by default."""
    log_level: str = "info"
    seed: int | None = None
    ready_file: Path | None = None
    identity: Identity | None = None
    """The room's certificate, when the process that forked this one loaded it already."""
    secure_socket: socket.socket | None = None
    """Listens for HTTPS already (given by the process that forked this one)."""
    ready_fd: int = -1
    """Where to say once that this room can work: a line with its name."""
    lifeline_fd: int = -1
    """Ends when the process that forked this one does: nobody is left behind."""

    @property
    def component(self) -> str:
        """What this process is called among the components."""
        return f"{self.room}-{self.node_names[0]}" if self.node_names else self.room

    def address(self, room: str) -> str:
        """Where another room is."""
        return self.peers.get(room) or f"{room}:{PORT}"

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that this process serves."""
        return self.node_names or tuple(self.settings.node_names)


def parser(room: str, what: str, peers: Sequence[str]) -> argparse.ArgumentParser:
    """The flags that every room has, and one for the address of each peer."""
    found = argparse.ArgumentParser(
        prog=f"python -m podwire.{room.replace('-', '_')}",
        description=f"{what} Each flag can be given as PODWIRE_<FLAG> in the environment, too.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(flag: str, default: Any, help: str, **more: Any) -> None:
        name = f"PODWIRE_{flag.removeprefix('--').replace('-', '_').upper()}"
        found.add_argument(flag, default=os.environ.get(name, default), help=help, **more)

    add("--pki", PKI, "folder that podwire certs filled", type=Path)
    add("--listen", f"127.0.0.1:{PORT}", "for other rooms", metavar="HOST:PORT")
    add("--nodes", 3, "how many nodes the cluster has", type=int)
    add("--cni", "flannel", "flannel or calico")
    add("--ingress", "nginx", "nginx or none")
    add("--authorization-mode", "RBAC", "RBAC or AlwaysAllow")
    add("--zones", "", "zones in which the nodes take turns", metavar="A,B,...")
    add("--time-profile", "typical", "fast, typical or slow")
    add("--log-level", "info", f"what is logged: {', '.join(LEVELS)}")
    add("--seed", None, "of randomness; drawn by default", type=int)
    add("--ready-file", None, "touched while the room can do its work", type=Path)
    for peer in peers:
        assert peer in ROOMS, peer
        add(f"--{peer}-address", f"{peer}:{PORT}", f"where {peer} is", metavar="HOST:PORT")
    return found


def host_port(flag: str, text: str) -> str:
    """``HOST:PORT``, checked. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{flag}: {text!r} is not HOST:PORT, such as {LOOPBACK}:{PORT}")
    return text


def options(room: str, flags: argparse.Namespace, peers: Sequence[str]) -> Options:
    """Flags as options. Raises ValueError for a setting that does not exist."""
    if flags.log_level not in LEVELS:
        raise ValueError(f"--log-level: {flags.log_level!r} is none of {', '.join(LEVELS)}")
    addresses = {peer: getattr(flags, f"{peer.replace('-', '_')}_address") for peer in peers}
    return Options(
        room=room,
        settings=ClusterSettings(
            nodes=flags.nodes,
            cni=flags.cni,
            ingress=flags.ingress,
            authorization_mode=flags.authorization_mode,
            time_profile=flags.time_profile,
            zones=tuple(zone.strip() for zone in flags.zones.split(",") if zone.strip()),
        ),
        pki=flags.pki,
        listen=host_port("--listen", flags.listen),
        peers={peer: host_port(f"--{peer}-address", at) for peer, at in addresses.items()},
        log_level=flags.log_level,
        seed=flags.seed,
        ready_file=flags.ready_file,
    )
