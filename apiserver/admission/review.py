"""What an admission plugin is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver.calls import Call
from podwire.client.counters import User

if TYPE_CHECKING:
    from podwire.apiserver.registry.meta import Source
    from podwire.apiserver.server import Apiserver


@dataclass(slots=True)
class Round:
    """What the hooks or policies of one write remember for its second round."""

    output: bytes = b""
    reinvocable: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)

    def require_all(self) -> None:
        """All so far that want to be asked again will be."""
        self.again += self.reinvocable
        self.reinvocable = []


@dataclass(slots=True)
class Review:
    """One object on its way in (admission.Attributes of upstream).

    Objects are in the stored version of ``kind`` and without managedFields and resourceVersion,
    which stand beside them.
    """

    server: Apiserver
    call: Call
    kind: Kind[Any]
    """The resource's, also where a subresource takes an object of another kind."""
    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    namespace: str
    name: str
    """What messages call it: of a name that is still to be generated its beginning."""
    obj: JSON
    """May be changed in place or replaced by plugins that mutate; {} for DELETE."""
    old: JSON | None = None
    """What is there, of UPDATE and DELETE."""
    subresource: str = ""
    object_kind: Kind[Any] | None = None
    """The kind of ``obj`` where it is not ``kind`` (Scale, Eviction, Binding, TokenRequest)."""
    dry_run: bool = False
    managed: Sequence[JSON] = ()
    old_managed: Sequence[JSON] = ()
    """managedFields, sealed."""
    revision: int = 0
    """resourceVersion of what is there, 0 for nothing."""
    reinvoking: bool = False
    """Whether this is the second round of the mutating phase."""
    reinvoke: bool = False
    """Set by a plugin whose successors changed the object: it asks for a second round."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What a plugin remembers for the second round, by its name."""
    source: Source | None = None
    """Of CREATE: what the new object is given by chance comes from there."""

    @property
    def user(self) -> User:
        """Who asks."""
        return self.call.user

    def suffix(self) -> str:
        """The end of a name that a plugin makes up."""
        return (self.source or self.server.source).suffix()

    def warn(self, text: str) -> None:
        """A text for the client (``Warning: 299``), told once however often a write is tried."""
        if text not in self.call.warnings:
            self.call.warnings.append(text)

    def annotate(self, key: str, value: str) -> None:
        """An annotation of the audit event."""
        self.call.annotations[key] = value
