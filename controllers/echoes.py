"""What a controller has told of its objects: to see it come back is no reason for another pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from podwire.api.view import JSON, to_json
from podwire.client.effects import Effect, Patch

_EMPTY: tuple[Any, ...] = (0, "", None, [], {})


class Echoes:
    """The statuses that one controller's passes were about to write, by key.

    For passes that would do nothing more once they see their own status. Upstream's do look again,
    and find nothing to do.
    """

    def __init__(self) -> None:
        self._told: dict[str, JSON] = {}

    def told(self, key: str, item: Any, effects: Sequence[Effect]) -> JSON | None:
        """Remember the status that a pass over ``item`` is about to write, and return it.

        None when it writes none, or more of the object than that.
        """
        mine = [e.patch for e in effects if isinstance(e, Patch) and e.subresource == "status"]
        if len(mine) != 1 or mine[0].keys() != {"metadata", "status"}:
            return None
        if mine[0]["metadata"].keys() != {"uid"}:
            return None
        whole = {**to_json(item.status), **mine[0]["status"]}
        told = self._told[key] = {k: v for k, v in whole.items() if v not in _EMPTY}
        return told

    def forget(self, key: str) -> None:
        """The object is gone, or has to be looked at whatever its status is."""
        self._told.pop(key, None)

    def heard(self, old: Any, new: Any) -> bool:
        """Whether a change of an object is that status, and nothing else."""
        told = self._told.get(new.key)
        if told is None or to_json(new.status) != told or old.spec != new.spec:
            return False
        revision = new.metadata.resource_version
        return bool(replace(old.metadata, resource_version=revision) == new.metadata)
