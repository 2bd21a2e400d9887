"""What a reconciler may ask for. ``reconcile(key) -> list[Effect]``; the driver performs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object; AlreadyExists counts as done when ``exists_ok``."""

    kind: Kind[Any]
    body: JSON
    namespace: str = ""
    exists_ok: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """JSON merge patch. Put metadata.resourceVersion into ``patch`` for optimistic concurrency;
    metadata.uid guards against a namesake.
    """

    kind: Kind[Any]
    name: str
    patch: JSON
    namespace: str = ""
    subresource: str = ""
    missing_ok: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, guarded by uid; absence counts as done."""

    kind: Kind[Any]
    name: str
    namespace: str = ""
    uid: str = ""
    grace_period_seconds: int | None = None
    propagation_policy: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """Record a v1 Event about an object (aggregated by the recorder)."""

    about: Object
    type: str
    reason: str
    message: str
    field_path: str = ""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Reconcile this key again after a delay, whatever happens meanwhile."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """Kernel commands on a node (for node agents)."""

    node: str
    commands: tuple[Any, ...] = field(default=())


Effect = Create | Patch | Delete | Emit | RequeueAfter | Run
