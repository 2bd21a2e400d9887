"""How long failed daemon pods stay before they are replaced (pure).

Source: kubernetes pkg/controller/daemon (failedPodsBackoff: 1 s, doubling to 15 min) and
client-go util/flowcontrol. A kubelet that refuses a pod at once would otherwise see it come back
as fast as it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from podwire.api.times import NS
from podwire.api.views import DaemonSet

FIRST_NS, MAX_NS = NS, 900 * NS
_Key = tuple[str, int, str]


@dataclass(slots=True)
class FailedPods:
    """The delays by DaemonSet, observed generation and node; forgotten after twice the longest."""

    _entries: dict[_Key, tuple[int, int]] = field(default_factory=dict)
    """(delay, when a pod was last replaced)"""

    def held_s(self, ds: DaemonSet, node: str, now_ns: int) -> float:
        """The delay of a node whose failed pod has to stay yet; 0 for one that may go."""
        delay_ns, since_ns = self._entries.get(_key(ds, node), (0, 0))
        return delay_ns / NS if now_ns - since_ns < delay_ns else 0.0

    def replaced(self, ds: DaemonSet, node: str, now_ns: int) -> None:
        """A failed pod of the node goes: the next one stays longer."""
        for key in [k for k, (_, at_ns) in self._entries.items() if now_ns - at_ns > 2 * MAX_NS]:
            del self._entries[key]
        delay_ns, _ = self._entries.get(_key(ds, node), (FIRST_NS // 2, 0))
        self._entries[_key(ds, node)] = min(2 * delay_ns, MAX_NS), now_ns


def _key(ds: DaemonSet, node: str) -> _Key:
    return ds.metadata.uid, ds.status.observed_generation, node
