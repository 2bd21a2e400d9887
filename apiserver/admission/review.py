"""What an admission plugin is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podwire.api.kinds import Kind
from podwire.api.view import JSON

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver


@dataclass(slots=True)
class Review:
    """One object on its way in. ``operation`` is CREATE, UPDATE or DELETE; ``obj`` may be changed
    in place and is empty for DELETE.
    """

    server: Apiserver
    kind: Kind[Any]
    operation: str
    namespace: str
    name: str
    subresource: str
    obj: JSON
    old: JSON | None = None


Plugin = Callable[[Review], None]
"""Changes ``review.obj`` or raises ApiError."""


def admit(review: Review) -> None:
    """Run the server's chain. Raises ApiError from the plugin that refuses."""
    for plugin in review.server.admission:
        plugin(review)
