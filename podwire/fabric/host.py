"""One host of the cluster: its kernel, disk, network card and the facts of its hardware."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from podwire.client.counters import NodeInfo
from podwire.dataplane.commands import AddrAdd, Command, LinkAdd, LinkSet, RouteReplace, SysctlSet
from podwire.dataplane.kernel import Kernel
from podwire.fabric.disk import Disk
from podwire.fabric.wire import NIC
from podwire.runtime.ports import Rng

GIB = 2**30
KERNEL_VERSION = "6.12.0-podwire"
NIC_MTU_BYTES = 1500
PREFIX_LENGTH = 24
PREFIX_LENGTH6 = 64
GATEWAY_ADDRESS = "192.168.0.1"
CONTROL_PLANE_ADDRESS = "192.168.0.10"
OUTSIDE_DEVICE = "outside0"
UPLINK = "wan0"
UPLINK_MAC = "02:42:00:00:00:01"
OUTSIDE_ADDRESS = "203.0.113.10"
OUTSIDE_ADDRESS6 = "2001:db8::10"
"""Addresses of the documentation ranges (RFC 5737, RFC 3849) of modelled outside servers."""


@dataclass(slots=True, eq=False)
class Host:
    """A machine on the underlay. ``kernel`` is replaced when it reboots."""

    info: NodeInfo
    kernel: Kernel
    disk: Disk = field(default_factory=Disk)
    powered: bool = True
    kernel_timer: Any = None
    kernel_timer_ns: int = 0


def mac_of(address: str) -> str:
    """A locally administered MAC that shows the host's address: 02:42:c0:a8:00:0b."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def address6_of(address: str) -> str:
    """The IPv6 address of a host, which shows its IPv4 one: fd00:192:168::11."""
    first, second, third, fourth = address.split(".")
    tail = fourth if third == "0" else f"{third}:{fourth}"
    return f"fd00:{first}:{second}::{tail}"


def boot_kernel(
    info: NodeInfo, rng: Rng, now_ns: int, *, router: str, prefix_length: int = PREFIX_LENGTH
) -> Kernel:
    """A freshly booted kernel with ``eth0`` configured.

    ``router`` is the default route; a host without one is the gateway itself.
    """
    kernel = Kernel(info.name, rng)
    kernel.add_physical(NIC, info.mac, NIC_MTU_BYTES)
    commands: list[Command] = []
    for address in info.addresses:
        six = ":" in address
        length = PREFIX_LENGTH6 if six else prefix_length
        commands.append(AddrAdd(dev=NIC, cidr=f"{address}/{length}"))
        if router:
            via = address6_of(router) if six else router
            commands.append(RouteReplace(dst="::/0" if six else "default", via=via, dev=NIC))
        key = "net.ipv6.conf.all.forwarding" if six else "net.ipv4.ip_forward"
        commands.append(SysctlSet(key=key, value="1"))
    for command in commands:
        kernel.execute(command, now_ns)
    if not router:
        versions = dict.fromkeys(6 if ":" in address else 4 for address in info.addresses)
        open_outside(kernel, now_ns, versions=tuple(versions))
    return kernel


def open_outside(
    gateway: Kernel,
    now_ns: int,
    address: str = OUTSIDE_ADDRESS,
    *,
    versions: tuple[int, ...] = (4,),
) -> None:
    """Make a kernel the edge of the cluster: an uplink where packets leave for good, private
    addresses that go nowhere, and an outside address for modelled servers to listen on.
    """
    gateway.add_physical(UPLINK, UPLINK_MAC, arp=False)
    commands: list[Command] = [
        LinkAdd(name=OUTSIDE_DEVICE, kind="dummy"),
        LinkSet(name=OUTSIDE_DEVICE, up=True),
    ]
    if 4 in versions:
        commands += [
            RouteReplace(dst="default", dev=UPLINK),
            RouteReplace(dst="10.0.0.0/8", type="unreachable"),
            AddrAdd(dev=OUTSIDE_DEVICE, cidr=f"{address}/32"),
        ]
    if 6 in versions:
        commands += [
            RouteReplace(dst="::/0", dev=UPLINK),
            RouteReplace(dst="fc00::/7", type="unreachable"),
            AddrAdd(dev=OUTSIDE_DEVICE, cidr=f"{OUTSIDE_ADDRESS6}/128"),
        ]
    for command in commands:
        gateway.execute(command, now_ns)


def write_boot_files(host: Host) -> None:
    """What an installer leaves on a node's disk."""
    name, address = host.info.name, host.info.address
    disk = host.disk
    disk.write("/etc/hostname", f"{name}\n".encode())
    six = f"{host.info.address6} {name}\n" if host.info.address6 else ""
    local = "::1 localhost\n" if ":" in address else ""
    disk.write("/etc/hosts", f"127.0.0.1 localhost\n{local}{address} {name}\n{six}".encode())
    resolver = address6_of(GATEWAY_ADDRESS) if ":" in address else GATEWAY_ADDRESS
    disk.write("/etc/resolv.conf", f"nameserver {resolver}\n".encode())
    disk.write("/etc/machine-id", f"{host.info.machine_id}\n".encode())
    disk.write(
        "/etc/os-release",
        b'PRETTY_NAME="podwire (modelled node)"\nNAME="podwire"\nID=podwire\n',
    )
