"""kube-proxy's ports: healthz and livez :10256, metrics and proxyMode :10249.

Source: kubernetes pkg/proxy/healthcheck (bodies, headers), cmd/kube-proxy (proxyMode).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from podwire.client import http1
from podwire.kube_proxy.metrics import Metrics, labelled
from podwire.kube_proxy.mode import Sync
from podwire.kube_proxy.model import ADDRESS_TYPES
from podwire.runtime.ports import Clock

CLUSTER_AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


@dataclass(slots=True)
class Health:
    """What the ports tell; kept by the proxier's shell."""

    clock: Clock
    started_ns: int
    mode: str = "iptables"
    node_eligible: bool = True
    pending_since_ns: dict[str, int] = field(default_factory=dict)
    """Family -> when its oldest change arrived that is not programmed yet."""
    updated_ns: dict[str, int] = field(default_factory=dict)
    """Family -> when everything was programmed last."""
    pending: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"service": {}, "endpoint": {}}
    )
    """Changes that were taken in and not programmed yet, by family."""
    timeout_ns: int = 60_000_000_000
    """Twice the sync period."""
    metrics_of: Metrics = field(default_factory=Metrics)
    catch_up: Callable[[], None] = lambda: None
    """Called before anything is told: takes in what was not told to this one alone."""

    def queued(self, family: str, since_ns: int = 0, at_ns: int = 0) -> None:
        """A change arrived that this family must program: now, or since then and at last then."""
        at_ns = at_ns or self.clock.now_ns()
        self.pending_since_ns.setdefault(family, since_ns or at_ns)
        self._set("last_queued_timestamp_seconds", at_ns / 1e9, family)

    def changed(self, what: str, family: str, count: int = 1) -> None:
        """Events of Services or EndpointSlices ("service" or "endpoint") were taken in."""
        self.metrics_of.count(f"sync_proxy_rules_{what}_changes_total", count)
        pending = self.pending[what]
        pending[family] = pending.get(family, 0) + count
        self._tell_pending(what)

    def heard(self, what: str, family: str, count: int, pending: int) -> None:
        """So many events were taken in since the last time, and so many are not programmed."""
        self.metrics_of.count(f"sync_proxy_rules_{what}_changes_total", count)
        self.pending[what][family] = pending
        self._tell_pending(what)

    def follow(self, other: Health, since: Metrics, family: str) -> None:
        """Take over what another one, whose metrics were ``since``, tells of a family."""
        self.metrics_of.add(other.metrics_of, since)
        for mine, theirs in (
            (self.pending_since_ns, other.pending_since_ns),
            (self.updated_ns, other.updated_ns),
        ):
            mine.pop(family, None)
            if family in theirs:
                mine[family] = theirs[family]

    def _tell_pending(self, what: str) -> None:
        """Upstream's gauge has no label: one of both families' proxiers sets it."""
        waiting = max(self.pending[what].values(), default=0)
        self.metrics_of.set(f"sync_proxy_rules_{what}_changes_pending", waiting)

    def synced(self, family: str, plan: Sync | None, *, full: bool, elapsed_s: float) -> None:
        """A sync went through."""
        label, kind = ADDRESS_TYPES[family], "full" if full else "partial"
        self.metrics_of.observe("sync_proxy_rules_duration_seconds", elapsed_s, label)
        self.metrics_of.observe(f"sync_{kind}_proxy_rules_duration_seconds", elapsed_s, label)
        self._set("last_timestamp_seconds", self.clock.now_ns() / 1e9, family)
        for what in ("service", "endpoint"):
            self.pending[what].pop(family, None)
            self._tell_pending(what)
        for name, value in (plan.gauges if plan is not None else {}).items():
            self.metrics_of.set(labelled(name, label), value)

    def reconciled(self, family: str, deleted: int, *, elapsed_s: float) -> None:
        """Stale UDP flows were looked for, and so many forgotten."""
        label = ADDRESS_TYPES[family]
        self.metrics_of.observe("conntrack_reconciler_sync_duration_seconds", elapsed_s, label)
        name = labelled("conntrack_reconciler_deleted_entries_total", label)
        self.metrics_of.count(name, deleted)

    def failed(self, family: str, *, full: bool) -> None:
        """A sync did not go through."""
        label = ADDRESS_TYPES[family]
        what = "nftables_sync" if self.mode == "nftables" else "iptables_restore"
        self.metrics_of.count(labelled(f"sync_proxy_rules_{what}_failures_total", label))
        if self.mode == "iptables" and not full:
            partial = "sync_proxy_rules_iptables_partial_restore_failures_total"
            self.metrics_of.count(labelled(partial, label))

    def updated(self, family: str) -> None:
        """Everything of a family is programmed."""
        since_ns = self.pending_since_ns.pop(family, None)
        self.updated_ns[family] = self.clock.now_ns()
        if since_ns is not None:
            elapsed_s = (self.clock.now_ns() - since_ns) / 1e9
            label = ADDRESS_TYPES[family]
            self.metrics_of.observe("network_programming_duration_seconds", elapsed_s, label)

    def _set(self, name: str, value: float, family: str) -> None:
        key = labelled(f"sync_proxy_rules_{name}", ADDRESS_TYPES[family])
        self.metrics_of.set(key, value)

    @property
    def alive(self) -> bool:
        """Whether changes get programmed in time (a proxier that never synced is not alive)."""
        self.catch_up()
        now = self.clock.now_ns()
        late = any(now - since >= self.timeout_ns for since in self.pending_since_ns.values())
        return bool(self.updated_ns or self.pending_since_ns) and not late

    async def healthz(self, request: http1.Request) -> http1.Response:
        """Answer on the health port."""
        if request.path not in {"/healthz", "/livez"}:
            return http1.text("404 page not found\n", 404)
        healthy = self.alive and (self.node_eligible or request.path == "/livez")
        now = self.clock.now_ns()
        last = now if healthy else max(self.updated_ns.values(), default=0)
        eligible = ""
        if request.path == "/healthz":
            eligible = f', "nodeEligible": {str(self.node_eligible).lower()}'
        body = f'{{"lastUpdated": "{_go_time(last)}","currentTime": "{_go_time(now)}"{eligible}}}'
        status = 200 if healthy else 503
        self.metrics_of.count(f'proxy_{request.path[1:]}_total{{code="{status}"}}')
        answer = http1.text(body, status, "application/json")
        answer.headers.append(("X-Content-Type-Options", "nosniff"))
        return answer

    async def metrics(self, request: http1.Request) -> http1.Response:
        """Answer on the metrics port."""
        if request.path == "/proxyMode":
            answer = http1.text(self.mode)
            answer.headers.append(("X-Content-Type-Options", "nosniff"))
            return answer
        if request.path == "/healthz":
            return http1.text("ok")
        if request.path != "/metrics":
            return http1.text("404 page not found\n", 404)
        self.catch_up()
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return http1.text(self.metrics_of.text(), kind=kind)


def _go_time(ns: int) -> str:
    """Go's ``time.Time.String``: ``2026-01-01 00:00:00.5 +0000 UTC``."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{text}{fraction} +0000 UTC"
