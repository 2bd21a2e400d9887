"""What a mode leaves behind goes when another one starts."""

from __future__ import annotations

from podwire.dataplane.commands import RulesRestore
from podwire.dataplane.kernel import Kernel
from podwire.kube_proxy.modes import MODES
from podwire.runtime.rng import SeededRng
from podwire.sim.settings import PROXY_MODES
from tests.unit.kube_proxy.conftest import proxier, six

SAVE = ("iptables-save",)
FOREIGN = """*nat
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
COMMIT
"""


def saved(kernel: Kernel) -> str:
    stdout, _, code = kernel.tool("", list(SAVE), "", 0)
    assert code == 0
    rules = (line for line in stdout.splitlines() if line[:1] in {"*", ":", "-"})
    return "".join(f"{line.partition(' [')[0]}\n" for line in rules)


def test_the_iptables_mode_leaves_a_kernel_as_it_found_it():
    """Chains, canaries and jumps go; what others made stays; a clean kernel needs no command."""
    mode, kernel = MODES["iptables"], Kernel("node-1", SeededRng(1))
    kernel.execute(RulesRestore(text=FOREIGN), 0)
    before = saved(kernel)
    assert mode.leftovers("ipv4", {SAVE: before}) == ()
    plan = proxier(*six()).plan(full=True, existing={SAVE: before})
    assert plan is not None
    for command in plan.commands:
        kernel.execute(command, 0)
    assert "KUBE-SEP-" in saved(kernel)
    for command in mode.leftovers("ipv4", {SAVE: saved(kernel)}):
        kernel.execute(command, 0)
    kept = [line for line in saved(kernel).splitlines() if "KUBE-" in line]
    assert kept == []
    assert "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" in saved(kernel)


def test_a_cluster_can_be_born_with_every_mode():
    """``podwire up --proxy-mode`` offers the modes that there are."""
    assert sorted(PROXY_MODES) == sorted(MODES)
