"""The proxy modes: how Services become state of a kernel. One table, and one folder per mode.

A mode is pure (``podwire.kube_proxy.mode``): it plans commands from a ``Proxier``'s tables and from
what the kernel's own tools printed; it never talks to anybody. Modes do not import each other.
"""

from __future__ import annotations

from podwire.kube_proxy.mode import Mode
from podwire.kube_proxy.modes.ebpf.mode import EbpfMode
from podwire.kube_proxy.modes.iptables.mode import IptablesMode
from podwire.kube_proxy.modes.ipvs.mode import IpvsMode
from podwire.kube_proxy.modes.nftables.mode import NftablesMode

MODES: dict[str, Mode] = {
    mode.name: mode for mode in (IptablesMode(), NftablesMode(), IpvsMode(), EbpfMode())
}
"""By name, as the ConfigMap and ``--proxy-mode`` write it. A starting kube-proxy removes the
leftovers of every other mode, in this order.
"""
