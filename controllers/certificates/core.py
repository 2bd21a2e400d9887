"""What becomes of a certificate request (pure).

Source: kubernetes pkg/controller/certificates (approver, signer, cleaner).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.api import certificates, kinds
from podwire.api.certificates import RequestError
from podwire.api.times import NS, parse_time
from podwire.api.view import JSON
from podwire.api.views import CertificateSigningRequest, CsrCondition
from podwire.client.effects import Delete, Effect, Patch, RequeueAfter

Sign = Callable[[CertificateSigningRequest], str]
"""The certificate (base64 of PEM) for a request. Raises RequestError."""

_KIND = kinds.CERTIFICATE_SIGNING_REQUEST
_APPROVED = "Auto approving kubelet client certificate after SubjectAccessReview."
_OWN_APPROVED = "Auto approving self kubelet client certificate after SubjectAccessReview."
_KEPT_S = {"Approved": 3600, "Denied": 3600, "Failed": 3600, "": 24 * 3600}
"""How long a request is kept in each state; "" is nobody's decision yet."""


SELF_NODE_CLIENT, NODE_CLIENT = "selfnodeclient", "nodeclient"
"""Subresources of certificatesigningrequests: who may create one is approved at once."""


def reconcile(
    csr: CertificateSigningRequest | None, sign: Sign, now_ns: int, permitted: str = ""
) -> list[Effect]:
    """Approve, sign or remove a request; otherwise look again when its time is up.

    ``permitted`` is what of ``recognized`` the requestor may create.
    """
    if csr is None or csr.metadata.deletion_timestamp:
        return []
    due_ns = _due_ns(csr)
    if due_ns <= now_ns:
        return [Delete(_KIND, csr.metadata.name, uid=csr.metadata.uid)]
    later = RequeueAfter((due_ns - now_ns) / NS)
    return [*_approve(csr, permitted), *_sign(csr, sign), later]


def recognized(csr: CertificateSigningRequest | None) -> list[str]:
    """What a requestor must be permitted (one of these) for his request to be approved at once."""
    if csr is None or csr.metadata.deletion_timestamp:
        return []
    undecided = not csr.has("Approved") and not csr.has("Denied") and not csr.status.certificate
    if not undecided or csr.spec.signer_name != certificates.KUBELET_CLIENT:
        return []
    try:
        asked = certificates.parse(csr.spec.request)
    except RequestError:
        return []
    if certificates.complaint(asked, csr.spec.signer_name, csr.spec.usages):
        return []
    own = csr.spec.username == asked.common_name
    return [SELF_NODE_CLIENT, NODE_CLIENT] if own else [NODE_CLIENT]


def _due_ns(csr: CertificateSigningRequest) -> int:
    """When a request is to be removed. Source: cleaner.go (its polling period is not modelled)."""
    due = parse_time(csr.metadata.creation_timestamp) + _KEPT_S[""] * NS
    for condition in csr.status.conditions:
        kept = _KEPT_S.get(condition.type)
        if condition.type == "Approved" and not csr.status.certificate:
            continue  # as if undecided: its signer may be slow
        if kept is not None and condition.last_update_time:
            due = min(due, parse_time(condition.last_update_time) + kept * NS)
    return due


def _approve(csr: CertificateSigningRequest, permitted: str) -> list[Effect]:
    """Approve what a kubelet asks for to be a client."""
    if not permitted:
        return []
    message = _OWN_APPROVED if permitted == SELF_NODE_CLIENT else _APPROVED
    condition = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
    return [_patched(csr, {"conditions": [*_conditions(csr), condition]}, "approval")]


def _sign(csr: CertificateSigningRequest, sign: Sign) -> list[Effect]:
    done = csr.status.certificate or csr.has("Failed") or csr.has("Denied")
    if done or not csr.has("Approved") or csr.spec.signer_name not in certificates.SIGNERS:
        return []
    try:
        asked = certificates.parse(csr.spec.request)
        wrong = certificates.complaint(asked, csr.spec.signer_name, csr.spec.usages)
        if not wrong:
            return [_patched(csr, {"certificate": sign(csr)}, "status")]
    except RequestError as error:
        wrong = str(error)
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": "SignerValidationFailure",
        "message": wrong,
    }
    return [_patched(csr, {"conditions": [*_conditions(csr), condition]}, "status")]


def _conditions(csr: CertificateSigningRequest) -> list[JSON]:
    return [_json(condition) for condition in csr.status.conditions]


def _json(condition: CsrCondition) -> JSON:
    made: JSON = {"type": condition.type, "status": condition.status}
    for key, value in (
        ("reason", condition.reason),
        ("message", condition.message),
        ("lastUpdateTime", condition.last_update_time),
        ("lastTransitionTime", condition.last_transition_time),
    ):
        if value:
            made[key] = value
    return made


def _patched(csr: CertificateSigningRequest, status: dict[str, Any], subresource: str) -> Patch:
    """Only if nobody else decided meanwhile."""
    meta = csr.metadata
    guard = {"uid": meta.uid, "resourceVersion": meta.resource_version}
    patch = {"metadata": guard, "status": status}
    return Patch(_KIND, meta.name, patch, subresource=subresource, missing_ok=True)
