"""What a reconciler may ask for. ``reconcile(key) -> list[Effect]``; the driver performs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.api.views import Object


@dataclass(frozen=True, slots=True)
class Announce:
    """Events about an owner that tell how a Create or Delete went.

    ``done`` and ``failed`` are (reason, message); ``{name}`` in a message becomes the object's
    name, ``{error}`` the API's message. ``done`` is a Normal event, ``failed`` a Warning; an empty
    reason tells nothing.
    """

    about: Object
    done: tuple[str, str]
    failed: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object; AlreadyExists counts as done when ``exists_ok``."""

    kind: Kind[Any]
    body: JSON
    namespace: str = ""
    exists_ok: bool = False
    announce: Announce | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """JSON merge patch. Put metadata.resourceVersion into ``patch`` for optimistic concurrency;
    metadata.uid guards against a namesake. ``strategic`` merges lists by their keys instead
    (conditions by type), so that other writers' entries survive.
    """

    kind: Kind[Any]
    name: str
    patch: JSON
    namespace: str = ""
    subresource: str = ""
    missing_ok: bool = False
    strategic: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """PUT of an object or a subresource (for subresources that know no patch: finalize)."""

    kind: Kind[Any]
    body: JSON
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
    announce: Announce | None = None


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


@dataclass(frozen=True, slots=True)
class Together:
    """Effects performed concurrently.

    With ``slow_start`` in batches of 1, 2, 4 ... and no further batch after one that had a
    failure (client-go's slowStartBatch), so that a quota refuses one request and not hundreds.
    """

    effects: tuple[Create | Delete | Patch | Replace, ...]
    slow_start: bool = False


Effect = Create | Patch | Replace | Delete | Emit | RequeueAfter | Run | Together
