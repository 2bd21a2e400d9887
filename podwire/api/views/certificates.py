"""View of CertificateSigningRequest."""

from __future__ import annotations

from podwire.api.view import View
from podwire.api.views.meta import Object


class CsrCondition(View, frozen=True, kw_only=True):
    """status.conditions[]: Approved, Denied, Failed."""

    type: str = ""
    status: str = "True"
    reason: str = ""
    message: str = ""
    last_update_time: str = ""
    last_transition_time: str = ""


class CsrSpec(View, frozen=True, kw_only=True):
    """What is asked for, and by whom."""

    request: str = ""
    signer_name: str = ""
    expiration_seconds: int | None = None
    usages: list[str] = []
    username: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


class CsrStatus(View, frozen=True, kw_only=True):
    """What became of it; ``certificate`` is base64 of PEM."""

    conditions: list[CsrCondition] = []
    certificate: str = ""


class CertificateSigningRequest(Object, frozen=True, kw_only=True):
    """certificates.k8s.io/v1 CertificateSigningRequest."""

    spec: CsrSpec = CsrSpec()
    status: CsrStatus = CsrStatus()

    def has(self, condition: str) -> bool:
        """Whether it has the condition (their status can only be True)."""
        return any(c.type == condition for c in self.status.conditions)
