"""kube-proxy's ports: healthz and livez :10256, metrics and proxyMode :10249.

Source: kubernetes pkg/proxy/healthcheck (bodies, headers), cmd/kube-proxy (proxyMode).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from podwire.client import http1
from podwire.runtime.ports import Clock

CLUSTER_AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


@dataclass(slots=True)
class Health:
    """What the ports tell; kept by the proxier's shell."""

    clock: Clock
    started_ns: int
    mode: str = "iptables"
    node_eligible: bool = True
    pending_since_ns: int = 0
    """When the oldest change arrived that is not programmed yet; 0 when none is."""
    updated_ns: int = 0
    timeout_ns: int = 60_000_000_000
    syncs: int = 0
    full_syncs: int = 0
    sync_seconds: float = 0.0
    failures: int = 0
    rules: int = 0
    services: int = 0
    endpoints: int = 0

    def queued(self) -> None:
        """A change arrived."""
        if not self.pending_since_ns:
            self.pending_since_ns = self.clock.now_ns()

    def updated(self) -> None:
        """Everything is programmed."""
        self.pending_since_ns = 0
        self.updated_ns = self.clock.now_ns()

    @property
    def alive(self) -> bool:
        """Whether changes get programmed in time (a proxier that never synced is not alive)."""
        if not self.pending_since_ns:
            return self.updated_ns > 0
        return self.clock.now_ns() - self.pending_since_ns < self.timeout_ns

    async def healthz(self, request: http1.Request) -> http1.Response:
        """Answer on the health port."""
        if request.path not in {"/healthz", "/livez"}:
            return http1.text("404 page not found\n", 404)
        healthy = self.alive and (self.node_eligible or request.path == "/livez")
        now = self.clock.now_ns()
        last = now if self.alive else self.updated_ns
        eligible = ""
        if request.path == "/healthz":
            eligible = f', "nodeEligible": {str(self.node_eligible).lower()}'
        body = f'{{"lastUpdated": "{_go_time(last)}","currentTime": "{_go_time(now)}"{eligible}}}'
        answer = http1.text(body, 200 if healthy else 503, "application/json")
        answer.headers.append(("X-Content-Type-Options", "nosniff"))
        return answer

    async def metrics(self, request: http1.Request) -> http1.Response:
        """Answer on the metrics port."""
        if request.path == "/proxyMode":
            return http1.text(self.mode)
        if request.path == "/healthz":
            return http1.text("ok")
        if request.path != "/metrics":
            return http1.text("404 page not found\n", 404)
        return http1.text(self._prometheus(), kind="text/plain; version=0.0.4; charset=utf-8")

    def _prometheus(self) -> str:
        prefix = "kubeproxy_sync_proxy_rules"
        rows = (
            (f"{prefix}_duration_seconds_count", "histogram", self.syncs),
            (f"{prefix}_duration_seconds_sum", "histogram", self.sync_seconds),
            ("kubeproxy_sync_full_proxy_rules_duration_seconds_count", "histogram",
             self.full_syncs),
            (f"{prefix}_iptables_restore_failures_total", "counter", self.failures),
            (f"{prefix}_iptables_last", "gauge", self.rules),
            (f"{prefix}_last_timestamp_seconds", "gauge", self.updated_ns / 1e9),
            (f"{prefix}_service_changes_pending", "gauge", int(bool(self.pending_since_ns))),
        )  # fmt: skip
        out: list[str] = []
        for name, kind, value in rows:
            family = name.removesuffix("_count").removesuffix("_sum")
            line = f"# TYPE {family} {kind}"
            if line not in out:
                out.append(line)
            out.append(f"{name} {value}")
        return "\n".join(out) + "\n"


def _go_time(ns: int) -> str:
    """Go's ``time.Time.String``: ``2026-01-01 00:00:00.5 +0000 UTC``."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{text}{fraction} +0000 UTC"
