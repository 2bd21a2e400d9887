"""What APIServices with a Service say, and what is to be said of them. Pure.

Source: kube-aggregator pkg/controllers/status/remote (remote_available_controller.go).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from podwire.api.view import JSON
from podwire.api.views import EndpointSlice, Service

AVAILABLE = "Available"
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Remote:
    """A group version that another server answers."""

    name: str
    uid: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    ca: bytes | None
    """PEM; b"" for the system's authorities, None when any certificate will do."""
    available: bool

    @property
    def path(self) -> str:
        """Where the group version begins."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def server_name(self) -> str:
        """Whom the server's certificate has to name."""
        return f"{self.service}.{self.namespace}.svc"


def remote_of(obj: JSON) -> Remote | None:
    """The Remote that an APIService describes, None for a local one."""
    spec = obj.get("spec") or {}
    service = spec.get("service")
    if service is None:
        return None
    found = condition_of(obj)
    ca: bytes | None = _decoded(spec.get("caBundle") or "")
    if spec.get("insecureSkipTLSVerify"):
        ca = None
    return Remote(
        obj["metadata"]["name"], obj["metadata"].get("uid", ""), spec.get("group") or "",
        spec.get("version") or "", service.get("namespace") or "", service.get("name") or "",
        service.get("port") or _HTTPS, ca, found is not None and found.get("status") == "True",
    )  # fmt: skip


def _decoded(bundle: str) -> bytes:
    try:
        return base64.b64decode(bundle, validate=True)
    except binascii.Error:
        return bundle.encode()  # no certificate in it, as the TLS stack will say


def condition_of(obj: JSON) -> JSON | None:
    """An APIService's condition Available."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == AVAILABLE), None)


class Verdict(NamedTuple):
    """A condition's status, reason and message."""

    status: str
    reason: str
    message: str


LOCAL = Verdict("True", "Local", "Local APIServices are always available")
PASSED = Verdict("True", "Passed", "all checks passed")


def failed_discovery(why: str) -> Verdict:
    """The extension server does not answer as it must."""
    return Verdict("False", "FailedDiscoveryCheck", why)


def reachable(
    remote: Remote, service: Service | None, slices: Iterable[EndpointSlice]
) -> Verdict | None:
    """What is wrong with a Remote's Service and ``slices``, its EndpointSlices; None: nothing."""
    named = f'service/{remote.service} in "{remote.namespace}"'
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{named} is not present")
    if service.spec.type != "ClusterIP":
        return None
    port = next((p for p in service.spec.ports if p.port == remote.port), None)
    if port is None:
        why = f"{named} is not listening on port {remote.port}"
        return Verdict("False", "ServicePortError", why)
    found = list(slices)
    if not found:
        why = f"cannot find endpointslices for {named}"
        return Verdict("False", "EndpointsNotFound", why)
    if not any(_leads(piece, port.name) for piece in found):
        why = f'endpointslices for {named} have no addresses with port name "{port.name}"'
        return Verdict("False", "MissingEndpoints", why)
    return None


def _leads(piece: EndpointSlice, port: str) -> bool:
    ready = any(endpoint.conditions.ready is not False for endpoint in piece.endpoints)
    return ready and any(p.name == port and p.port for p in piece.ports)


def patched(obj: JSON, verdict: Verdict, now: str) -> list[JSON] | None:
    """An APIService's conditions with a verdict in them, None when they say it already."""
    old = condition_of(obj)
    told: dict[str, Any] = {
        "type": AVAILABLE, "status": verdict.status, "lastTransitionTime": now,
        "reason": verdict.reason, "message": verdict.message,
    }  # fmt: skip
    if old is not None and old.get("status") == verdict.status:
        told["lastTransitionTime"] = old.get("lastTransitionTime", now)
    if told == old:
        return None
    others = [c for c in (obj.get("status") or {}).get("conditions") or () if c is not old]
    return [*others, told]
