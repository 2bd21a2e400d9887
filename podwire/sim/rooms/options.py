"""The flags of the rooms' processes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podwire.client.identity import ROOMS
from podwire.runtime.log import LEVELS
from podwire.sim.settings import LOOPBACK, ClusterSettings

PKI = Path("/etc/podwire/pki")
PORT = 7443
"""Where every room listens for the others, each in a container of its own."""


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
    etcd_servers: str = ""
    """etcd's URLs, with commas; "" keeps objects in memory."""
    etcd_files: tuple[str, str, str] = ("", "", "")
    """Authority, certificate and key for etcd."""
    shown_api: str = ""
    """The same as people outside a container see it."""
    publish_host: str = LOOPBACK
    """The real address on which modelled services are published."""
    publish_shown: str = ""
    """The same as people outside a container see it; "" is as it is."""
    publish_ports: tuple[int, ...] = ()
    """The only real ports to publish at; any by default."""
    node_names: tuple[str, ...] = ()
    """The nodes that this process serves; all by default."""
    log_level: str = "info"
    seed: int | None = None
    ready_file: Path | None = None

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
        description=what,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = found.add_argument
    add("--pki", type=Path, default=PKI, help="folder that podwire certs filled")
    add("--listen", default=f"127.0.0.1:{PORT}", metavar="HOST:PORT", help="for other rooms")
    add("--nodes", type=int, default=3, help="how many nodes the cluster has")
    add("--cni", default="flannel", help="flannel or calico")
    add("--ingress", default="nginx", help="nginx or none")
    add("--time-profile", default="typical", help="fast, typical or slow")
    add("--log-level", default="info", choices=list(LEVELS), help="what is logged")
    add("--seed", type=int, default=None, help="of randomness; drawn by default")
    add("--ready-file", type=Path, default=None, help="touched while the room can do its work")
    for peer in peers:
        assert peer in ROOMS, peer
        add(f"--{peer}-address", default=f"{peer}:{PORT}", metavar="HOST:PORT", help=f"where {peer} is")
    return found


def options(room: str, flags: argparse.Namespace, peers: Sequence[str]) -> Options:
    """Flags as options. Raises ValueError for a setting that does not exist."""
    return Options(
        room=room,
        settings=ClusterSettings(nodes=flags.nodes, cni=flags.cni, time_profile=flags.time_profile),
        pki=flags.pki,
        listen=flags.listen,
        peers={peer: getattr(flags, f"{peer.replace('-', '_')}_address") for peer in peers},
        log_level=flags.log_level,
        seed=flags.seed,
        ready_file=flags.ready_file,
    )
