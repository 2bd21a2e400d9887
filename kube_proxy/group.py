"""kube-proxies of one process that sync together: one plan, one wait, one call for all kernels.

Whose settings, tables and rules are the same makes the same input at each sync. A ``Part`` of a
group holds one account of rules for all its members; Services that depend on the node split it
into those that see the same of them. Who is told apart (a command failed, the rules were flushed,
its Node changed) leaves, syncs alone, and joins again. Only on the machine's clock: in a
simulation each node hears and acts at moments of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Any

from podwire.client.common import Commons
from podwire.kube_proxy.core import Proxier, Shared
from podwire.kube_proxy.family import Family
from podwire.kube_proxy.health import Health
from podwire.kube_proxy.known import WHATS, Hearing, Known
from podwire.kube_proxy.lineup import Lineup
from podwire.kube_proxy.metrics import Metrics
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.pieces import Prepared, prepared
from podwire.kube_proxy.runner import Runner
from podwire.runtime.ports import Clock, Timer
from podwire.runtime.tasks import Nursery

_LARGEST = 8
"""Parts that others are compared with, to be merged into."""


class Part:
    """Members whose kernels hold the same."""

    def __init__(self, group: Group, programmed: Any, turn: int, health: Health) -> None:
        self.group, self.programmed, self.turn, self.health = group, programmed, turn, health
        self.heard = dict(group.known.heard)
        """How many events there were when it synced last."""
        self.members: dict[Family, None] = {}
        self._mark: Metrics | None = None

    def take(self, member: Family) -> None:
        """A member, whose own health and metrics are up to date."""
        if self._mark is None:
            self._mark = self.health.metrics_of.copy()
        member.part, member.mark = self, self._mark
        self.members[member] = None

    def changed(self) -> Health:
        """Its health, which changes now."""
        self._mark = None
        return self.health

    def tell(self, member: Family) -> None:
        """Bring a member's health and metrics up to date."""
        group, health, family = self.group, member.owner.health, member.proxier.family
        group.tell_queued()
        for what in WHATS:
            now = group.known.heard[what]
            health.heard(what, family, now - member.heard[what], now - self.heard[what])
            member.heard[what] = now
        health.follow(self.health, member.mark, family)
        self.take(member)

    def like(self, members: Iterable[Family]) -> Part:
        """A part of its own of some of the members."""
        own = self.health
        health = Health(own.clock, own.started_ns, own.mode)
        health.metrics_of = own.metrics_of.copy()
        health.pending_since_ns.update(own.pending_since_ns)
        health.updated_ns.update(own.updated_ns)
        made = Part(self.group, self.programmed, self.turn, health)
        made.heard = dict(self.heard)
        for member in members:
            member.part = made
            made.members[member] = None
        return made


class Group:
    """The kube-proxies of one mode, family and configuration."""

    def __init__(self, clock: Clock, known: Known, first: Family) -> None:
        self.known, self._clock = known, clock
        self._settings, self._rules = first.proxier.settings, first.config.rules
        self.parts: list[Part] = []
        self._queued: tuple[int, int] | None = None
        """When the first and the latest change came that parts were not told of."""
        self._again: Timer | None = None
        self._checked = False
        self._busy = False
        """Whether plans are under way: who joins then may see other things than they tell of."""
        self.runner = Runner(
            clock,
            self._round,
            min_interval_s=self._rules.min_sync_period_s,
            retry_s=self._rules.sync_period_s,
        )

    # ------------------------------------------------------------ who belongs to it

    def join(self, member: Family) -> None:
        """A member whose kernel holds what its proxier says."""
        proxier, health, family = member.proxier, member.owner.health, self.known.family
        member.tell()
        part = None if self._busy else self._alike(proxier.programmed, self.parts)
        if part is None:
            fresh = Health(self._clock, health.started_ns, health.mode)
            part = Part(self, proxier.programmed, member.turn, fresh)
            if family in health.updated_ns:
                part.health.updated_ns[family] = health.updated_ns[family]
            self.parts.append(part)
        part.turn = min(part.turn, member.turn)
        part.take(member)
        self.known.listeners.pop(member, None)
        self.known.listeners[self] = None
        if member.turn < self.known.turn:
            self.due()

    def leave(self, member: Family) -> None:
        """A member syncs alone from now on, from what its kernel holds."""
        part = member.part
        assert part is not None
        part.tell(member)
        member.proxier.programmed, member.turn = part.programmed, part.turn
        member.part = None
        del part.members[member]
        if not part.members:
            self.parts.remove(part)
        self.known.listeners[member] = None
        if not self.parts:
            del self.known.listeners[self]

    @property
    def turn(self) -> int:
        """Up to which turn all caught up."""
        return min((part.turn for part in self.parts), default=self.known.turn)

    def _alike(self, programmed: Any, parts: Iterable[Part]) -> Part | None:
        alike = self.known.mode.alike
        return next((part for part in parts if alike(part.programmed, programmed)), None)

    def _merge(self) -> None:
        """Parts that came to hold the same become one."""
        kept: list[Part] = []
        for part in sorted(self.parts, key=lambda each: -len(each.members)):
            found = self._alike(part.programmed, kept[:_LARGEST])
            if found is None:
                kept.append(part)
                continue
            # Of what came since, each may see something else: it is looked at once more.
            found.turn = min(found.turn, part.turn)
            for member in part.members:
                part.tell(member)
                found.take(member)
        self.parts = kept

    # ------------------------------------------------------------ when something changed

    def due(self) -> None:
        """A change came that must be programmed."""
        now = self._clock.now_ns()
        self._queued = (self._queued[0] if self._queued else now, now)
        self.runner.request()

    def tell_queued(self) -> None:
        """Tell the parts of changes that came."""
        if self._queued is not None:
            since_ns, at_ns = self._queued
            self._queued = None
            for part in self.parts:
                part.changed().queued(self.known.family, since_ns, at_ns)

    async def _round(self) -> bool:
        """Program what changed on all members."""
        self._busy = True
        try:
            await self._sync()
        finally:
            self._busy = False
        return True

    async def _sync(self) -> None:
        clock, known, mode = self._clock, self.known, self.known.mode
        started_ns, turn = clock.monotonic_ns(), known.turn
        self.tell_queued()
        planned: list[tuple[float, Part, Sync | None]] = []
        for part in self._split():
            plan = self._plan(part, started_ns)
            takes_s = 0.0
            if plan is not None:
                takes_s = mode.restore_base_s + plan.changes * mode.restore_per_change_s
            planned.append((takes_s, part, plan))
        for takes_s, part, plan in sorted(planned, key=lambda each: each[0]):
            left_s = takes_s - (clock.monotonic_ns() - started_ns) / 1e9
            if plan is not None and left_s > 0:
                await clock.sleep(left_s)
            if part.members:
                await self._do(part, plan, turn, started_ns)
        self._checked = known.checked
        self._merge()
        if self.turn < turn:
            self.runner.request()

    def _split(self) -> list[Part]:
        """The parts; those whose members see different things of what changed are divided."""
        known, parts = self.known, []
        for part in self.parts:
            state = self._state(part)
            found = [prepared(state, key) for key in known.since(part.turn)]
            ones = [one for one in found if one is not None and one.by_node]
            parts += _divided(part, ones) if ones else [part]
        self.parts = parts
        return list(parts)

    def _state(self, part: Part) -> Proxier:
        """What any of the members knows."""
        like = next(iter(part.members)).proxier
        state = Proxier(
            like.mode, self._settings, like.node, like.shared, like.family, like.sync_period_s,
            like.service_cidrs, programmed=part.programmed,
        )  # fmt: skip
        self.known.bring(state, part.turn)
        return state

    def _plan(self, part: Part, now_ns: int) -> Sync | None:
        return self._state(part).plan(full=False, now_ns=now_ns)

    async def _do(self, part: Part, plan: Sync | None, turn: int, started_ns: int) -> None:
        """Execute a plan on those who are still members, and account for it."""
        family, known = self.known.family, self.known
        members = {member.node: member for member in part.members}
        if plan is not None:
            fabric = next(iter(part.members)).owner.ctx.fabric
            failed = await fabric.execute_all(list(members), plan.commands)
            for node, why in failed.items():
                member = members.pop(node)
                if member.part is part:
                    member.alone(full=True)
                    member.owner.failed(member, why, full=False)
                    member.runner.retry()
            part.programmed = plan.programmed
            if plan.udp is not None:
                for member in members.values():
                    await member.owner.forget_flows(plan, family)
            if plan.again_s is not None:
                self._sync_again(plan.again_s)
        part.turn, part.heard = turn, dict(known.heard)
        if known.checked or self._checked:
            for member in members.values():
                if member.checks is not None and member.part is part:
                    known.bring(member.proxier, turn)
                    await member.checks.sync(member.proxier.checks())
        elapsed_s = (self._clock.monotonic_ns() - started_ns) / 1e9
        health = part.changed()
        health.synced(family, plan, full=False, elapsed_s=elapsed_s)
        if known.turn == turn:
            health.updated(family)

    def _sync_again(self, after_s: float) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = self._clock.call_later(after_s, self.runner.request)

    def stop(self) -> None:
        """No further sync."""
        if self._again is not None:
            self._again.cancel()


def _divided(part: Part, ones: list[Prepared]) -> list[Part]:
    """The part, or as many as there are different sights of some Services."""
    seen: dict[Hashable, list[Family]] = {}
    for member in part.members:
        sight = tuple([one.sight(member.proxier.node) for one in ones])
        seen.setdefault(sight, []).append(member)
    return [part] if len(seen) == 1 else [part.like(members) for members in seen.values()]


class Together:
    """What the kube-proxies of one process do together."""

    hearing: Hearing

    def __init__(self, clock: Clock, commons: Commons) -> None:
        self.clock, self.commons = clock, commons
        self.lineup = Lineup(clock)
        """When those who sync alone begin."""
        self._groups: dict[Hashable, Group] = {}
        self._nursery: Nursery | None = None

    def begin(self, shared: Shared) -> None:
        """Hear, into what is shared."""
        self.hearing = Hearing(self.commons, shared)

    async def run(self) -> None:
        """Sync groups until cancelled; where it does not run, there are none."""
        try:
            async with Nursery() as self._nursery:
                await asyncio.get_running_loop().create_future()
        finally:
            self._nursery = None
            for group in self._groups.values():
                group.stop()

    def join(self, member: Family) -> None:
        """Sync together with those that plan alike, if there are such."""
        proxier, known, rules = member.proxier, member.known, member.config.rules
        if known is None or self._nursery is None or not proxier.mode.plans_alike(proxier):
            return
        key = (known, proxier.settings, rules.min_sync_period_s, rules.sync_period_s)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self.clock, known, member)
            name = f"kube-proxies {known.mode.name} {known.family}"
            self._nursery.start(group.runner.loop(), name=name)
        group.join(member)
