"""Discovery of the groups that definitions and extension servers bring: which paths there are.
What they answer is ``apiserver.discovery``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podwire.api.crd.served import version_rank
from podwire.api.kinds import Kind, Registry
from podwire.apiserver import discovery
from podwire.apiserver.aggregation.core import Remote
from podwire.apiserver.routes import Route


def order(kind: Kind[Any]) -> tuple[Any, ...]:
    """Discovery's order: groups by name, the preferred version first, then plurals."""
    return (kind.group, version_rank(kind.version), kind.plural)


def routes(served: Registry, remotes: Sequence[Remote]) -> list[Route]:
    """The paths of groups that come and go, and of versions that only definitions have."""
    told = [k for k in served.own if k.custom is not None and k.custom.definition.established]
    groups = dict.fromkeys(
        [*(kind.group for kind in told), *(remote.group for remote in remotes if remote.group)]
    )
    versions = dict.fromkeys(kind.prefix for kind in told)
    return [
        *(Route(f"/apis/{name}", discovery.group) for name in groups),
        *(Route(path, discovery.resources) for path in versions),
    ]
