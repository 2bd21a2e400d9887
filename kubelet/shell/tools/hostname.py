"""hostname: the pod's; ``-i`` its address, ``-f`` its full name from /etc/hosts."""

from __future__ import annotations

from podwire.client.resolver import Hosts
from podwire.kubelet.shell.command import Command, UsageError


async def run(command: Command) -> int:
    """``hostname [-i|-I|-f|-s|-d]``."""
    name = command.spec.hostname or command.spec.pod
    option = command.args[0] if command.args else ""
    if option in {"-i", "-I", "--ip-address", "--all-ip-addresses"}:
        command.out(f"{command.spec.pod_ip}\n")
        return 0
    if option in {"-f", "--fqdn", "-d"}:
        try:
            hosts = Hosts(command.read_file("/etc/hosts").decode(errors="replace"))
        except UsageError:
            hosts = Hosts("")
        full = hosts.canonical(name) or name
        command.out(f"{full.partition('.')[2] if option == '-d' else full}\n")
        return 0
    command.out(f"{name}\n")
    return 0
