"""A node that only remembers: enough kernel and disk to see what plugins and agents did to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from podwire.client.counters import NodeInfo, ToolResult
from podwire.dataplane import commands as c
from podwire.runtime.rng import SeededRng

BUILTIN = {
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
}


class Rules:
    """iptables-restore --noflush and iptables-save, without meaning."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[str]]] = {
            t: {name: [] for name in names} for t, names in BUILTIN.items()
        }

    def restore(self, text: str) -> None:
        chains: dict[str, list[str]] = {}
        for line in text.splitlines():
            verb, _, rest = line.partition(" ")
            if line.startswith("*"):
                chains = self.tables[line[1:]]
            elif line.startswith(":"):
                chains[verb[1:]] = []
            elif verb == "-X":
                del chains[rest]
            elif verb == "-D":
                chain, _, rule = rest.partition(" ")
                chains[chain].remove(rule)
            elif verb in {"-A", "-I"}:
                chain, _, rule = rest.partition(" ")
                chains[chain].insert(len(chains[chain]) if verb == "-A" else 0, rule)

    def save(self, table: str) -> str:
        out = [f"*{table}", *(f":{name} - [0:0]" for name in self.tables[table])]
        out += [f"-A {name} {r}" for name, rules in self.tables[table].items() for r in rules]
        return "\n".join([*out, "COMMIT", ""])


class FakeFabric:
    """Counter 2 for node-1: links, addresses, disk, rules, and the log of every command."""

    def __init__(self) -> None:
        self.disk: dict[str, bytes] = {}
        self.links: dict[tuple[str, str], c.LinkAdd] = {}
        self.addresses: set[tuple[str, str, str]] = set()
        self.log: list[c.Command] = []
        self.rules = Rules()
        self.moved = asyncio.Event()
        """A device came or went."""
        self.sets: dict[str, list[str]] = {}

    async def node(self, node: str) -> NodeInfo:
        return NodeInfo(node, "192.168.0.11", "02:00:00:00:00:0b", "", "", 4, 2**33, "6.12.0")

    async def execute(self, node: str, commands: Sequence[c.Command]) -> None:
        for command in commands:
            self._apply(command)
            self.log.append(command)

    def _apply(self, command: c.Command) -> None:
        if isinstance(command, c.LinkAdd):
            peer = (command.peer_netns, command.peer_name)
            if (command.netns, command.name) in self.links or peer in self.links:
                raise c.CommandError("RTNETLINK answers: File exists")
            self.links[command.netns, command.name] = command
            if command.kind == "veth":
                self.links[command.peer_netns, command.peer_name] = command
            self.moved.set()
        elif isinstance(command, c.LinkDel):
            link = self.links.pop((command.netns, command.name), None)
            if link is None:
                raise c.CommandError(f'Cannot find device "{command.name}"')
            self.links.pop((link.netns, link.name), None)
            self.moved.set()
        elif isinstance(command, c.AddrAdd):
            key = (command.netns, command.dev, command.cidr)
            if key in self.addresses:
                raise c.CommandError("Error: ipv4: Address already assigned.")
            self.addresses.add(key)
        elif isinstance(command, c.IpsetRestore):
            self._sets(command.text)
        elif isinstance(command, c.RulesRestore):
            self.rules.restore(command.text)

    def _sets(self, text: str) -> None:
        for line in text.splitlines():
            verb, name, *rest = line.split()
            if verb == "destroy":
                del self.sets[name]
            elif verb == "add":
                self.sets[name].append(rest[0])
            else:
                self.sets[name] = []

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        if argv[0] == "iptables-save":
            tables = argv[2:3] or tuple(BUILTIN)
            return ToolResult("".join(self.rules.save(table) for table in tables))
        if argv[0] == "iptables":
            _, _, table, _, chain = argv
            if f":{chain} " in self.rules.save(table):
                return ToolResult(f"-N {chain}\n")
            return ToolResult("", "iptables: No chain/target/match by that name.\n", 1)
        if argv[:2] == ("ipset", "list"):
            return ToolResult("".join(f"{name}\n" for name in self.sets))
        if tuple(argv) == ("ip", "addr", "show"):
            own = "2: eth0: <BROADCAST,UP> mtu 1500\n    inet 192.168.0.11/24 scope global eth0\n"
            return ToolResult(own)
        if argv[:2] in {("ip", "addr"), ("ip", "link")}:
            device = argv[-1]
            if (netns, device) not in self.links and device not in {"lo", "eth0"}:
                return ToolResult("", f'Device "{device}" does not exist.\n', 1)
            found = sorted(a for a in self.addresses if a[:2] == (netns, device))
            lines = [f"2: {device}: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP"]
            link = self.links.get((netns, device))
            if link is not None and link.mac:
                lines += [f"    link/ether {link.mac} brd ff:ff:ff:ff:ff:ff"]
            lines += [f"    inet {cidr} scope global {device}" for _, _, cidr in found]
            return ToolResult("\n".join(lines))
        return ToolResult("", "not modelled", 127)

    async def read_file(self, node: str, path: str) -> bytes:
        try:
            return self.disk[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        self.disk[path] = data

    async def watch_files(self, node: str, prefix: str) -> AsyncIterator[str]:
        for path in await self.list_files(node, prefix):
            yield path
        if prefix.startswith("/sys/class/net/"):
            while True:
                await self.moved.wait()
                self.moved.clear()
                yield prefix
        await asyncio.get_running_loop().create_future()

    async def remove_file(self, node: str, path: str) -> None:
        self.disk.pop(path, None)

    async def list_files(self, node: str, prefix: str) -> list[str]:
        return sorted(path for path in self.disk if path.startswith(prefix))

    def of(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.log if isinstance(command, kind)]


@pytest.fixture
def fabric() -> FakeFabric:
    return FakeFabric()


@pytest.fixture
def rng() -> SeededRng:
    return SeededRng(7)
