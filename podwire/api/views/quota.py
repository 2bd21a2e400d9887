"""View of ResourceQuota."""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.api.views.meta import Object


class ResourceQuota(Object, frozen=True, kw_only=True):
    """v1 ResourceQuota, kept as it is: amounts have any names."""

    spec: JSON = {}
    status: JSON = {}
