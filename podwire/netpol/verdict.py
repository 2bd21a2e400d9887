"""What a policy verdict says: allowed or denied, by whom, and what came closest."""

from __future__ import annotations

from dataclasses import dataclass

INGRESS, EGRESS = "Ingress", "Egress"


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that did not admit the connection, and why."""

    policy: str
    """``namespace/name``."""
    rule: str
    """``ingress[0]``; "" when the policy has no rule for the direction."""
    reasons: tuple[str, ...]
    peer_matched: bool = False
    port_matched: bool = False

    def __str__(self) -> str:
        where = f"{self.policy} {self.rule}".strip()
        return f"{where}: {'; '.join(self.reasons)}"


@dataclass(frozen=True, slots=True)
class Side:
    """One direction: what the source's or the destination's policies say."""

    direction: str
    pod: str
    """The pod whose policies decide, ``namespace/name``."""
    isolated_by: tuple[str, ...]
    """Policies that select the pod for this direction; without any, everything is allowed."""
    allowed_by: tuple[str, ...] = ()
    """Rules that admit the connection: ``namespace/name ingress[0]``."""
    misses: tuple[Miss, ...] = ()
    """The rules that do not, nearest first."""

    @property
    def allowed(self) -> bool:
        """Whether this side lets the connection pass."""
        return not self.isolated_by or bool(self.allowed_by)


@dataclass(frozen=True, slots=True)
class Allowed:
    """The connection may be made. ``reason`` is set when no policy was asked."""

    egress: Side | None = None
    ingress: Side | None = None
    reason: str = ""

    @property
    def allowed(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True, slots=True)
class Denied:
    """The connection is dropped; egress is judged before ingress, as a packet meets it."""

    side: Side
    egress: Side | None = None
    ingress: Side | None = None

    @property
    def allowed(self) -> bool:
        """False."""
        return False

    @property
    def direction(self) -> str:
        """Which direction denies."""
        return self.side.direction

    @property
    def isolated_by(self) -> tuple[str, ...]:
        """The policies that isolate the pod in that direction."""
        return self.side.isolated_by

    @property
    def nearest(self) -> tuple[Miss, ...]:
        """The rules that came closest to admitting it."""
        return self.side.misses


Verdict = Allowed | Denied
