"""What a proxy mode is: questions to the kernel, and plans made from their answers.

The shell puts a mode's questions to the node's tools through counter 2, hands the answers to the
mode and executes the commands it gets, in their order. Nothing else passes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from podwire.dataplane.commands import AnyCommand
from podwire.kube_proxy.conntrack import Wanted

if TYPE_CHECKING:
    from podwire.kube_proxy.config import Config
    from podwire.kube_proxy.core import Proxier
    from podwire.kube_proxy.model import NodeFacts

Argv = tuple[str, ...]
Answers = Mapping[Argv, str]
"""What each question printed; "" where the tool is missing or failed."""

FAMILIES = ("ipv4", "ipv6")


@dataclass(frozen=True, slots=True)
class Sync:
    """One planned transaction of one family, and what follows it."""

    commands: tuple[AnyCommand, ...]
    """Executed in order; the first that fails ends the sync, and the next one is full."""
    changes: int
    """Rules, elements or entries that the commands carry: what their duration depends on."""
    full: bool
    programmed: Any
    """The mode's own account of what the kernel holds once the commands went through."""
    udp: Wanted | None = None
    """Where the UDP flows of the Services that changed may lead: the others are forgotten after
    the commands went through (``conntrack.stale``).
    """
    again_s: float | None = None
    """A further sync is wanted after this time, though nothing may change until then."""
    gauges: Mapping[str, float] = field(default_factory=dict)
    """Metrics that this sync tells: name (without ``kubeproxy_``), with labels, to value."""


@dataclass(frozen=True, slots=True)
class Chore:
    """What a mode does now and then besides syncing (canaries, graceful deletion)."""

    name: str
    period_s: float
    asks: Callable[[Proxier], tuple[Argv, ...]]
    """The questions of a round."""
    do: Callable[[Proxier, Answers], Done]
    """One round."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a chore found out."""

    commands: tuple[AnyCommand, ...] = ()
    resync: str = ""
    """Why everything must be programmed anew ("" when it need not): logged as it stands."""


class Mode(Protocol):
    """One way to program Services. Stateless: what it must remember is in ``Sync.programmed``."""

    name: str
    title: str
    """As kube-proxy's log writes it: ``iptables``, ``nftables``."""
    restore_base_s: float
    """What starting the tools of one sync costs, in modelled time."""
    restore_per_change_s: float
    restore_source: str
    """Where both are from, in a few words."""
    knows_service_cidrs: bool = False
    """Whether it must be told which networks cluster IPs come from (``Proxier.service_cidrs``)."""
    annotations: tuple[str, ...] = ()
    """Annotations of Services that shape its rules."""

    def settings(self, config: Config, node: NodeFacts, family: str) -> Any:
        """What of the configuration shapes this mode's state on a node: hashable, part of the
        key under which renderings are shared. Raises ConfigError.
        """

    def prepare(self, settings: Any) -> tuple[AnyCommand, ...]:  # noqa: ARG002  for those that do
        """Commands of the proxier's start, before the first sync (sysctls, devices)."""
        return ()

    def questions(self, state: Proxier, *, full: bool) -> tuple[Argv, ...]:
        """What a sync must know of the kernel."""

    def plan(self, state: Proxier, *, full: bool, existing: Answers, now_ns: int) -> Sync | None:
        """The next transaction; None when nothing changed. Pure: it may read and clear
        ``state.dirty``, and nothing is programmed until ``state.committed`` says so.
        """

    def plans_alike(self, state: Proxier) -> bool:  # noqa: ARG002  for those that do
        """Whether a plan that is not full asks the kernel nothing and follows from the tables,
        the settings, what is programmed and what the node sees of the Services that changed
        (``pieces.Prepared.sight``): one plan for all nodes that have these in common.
        """
        return False

    def alike(self, one: Any, other: Any) -> bool:
        """Whether two of its accounts (``Sync.programmed``) tell the same."""
        return one is other

    def chores(self, state: Proxier) -> tuple[Chore, ...]:  # noqa: ARG002  for those that have any
        """What is to be done now and then."""
        return ()

    def leftover_questions(self, family: str) -> tuple[Argv, ...]:
        """What ``leftovers`` must know."""

    def leftovers(self, family: str, existing: Answers) -> tuple[AnyCommand, ...]:
        """Commands that remove all this mode ever made, () when nothing of it is there."""
