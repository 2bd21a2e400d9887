"""CertificateSigningRequests: who asked, who may approve, what each path may change.

Source: upstream pkg/registry/certificates/certificates (strategy.go) and the admission plugins
plugin/pkg/admission/certificates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from podwire.api import certificates, kinds
from podwire.api.certificates import RequestError
from podwire.api.validation.field import Errors, invalid_error
from podwire.api.view import JSON
from podwire.apiserver import authorizer, calls
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.calls import Call
from podwire.apiserver.userinfo import user_info

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

CSR = kinds.CERTIFICATE_SIGNING_REQUEST
_DECIDED = ("Approved", "Denied")
_MASTERS = "system:masters"


def on_create(call: Call, obj: JSON) -> None:
    """Write down who asks; refuse what is no request. Raises ApiError Invalid, Forbidden."""
    spec = obj.setdefault("spec", {})
    for field in ("username", "uid", "groups", "extra"):
        spec.pop(field, None)
    spec |= user_info(call.user)
    name = obj["metadata"].get("name", "")
    try:
        asked = certificates.parse(spec.get("request") or "")
    except RequestError as error:
        errors = Errors()
        errors.invalid("spec.request", spec.get("request") or "", str(error))
        raise invalid_error(CSR, name, errors.causes) from None
    if spec.get("signerName") == certificates.CLIENT and _MASTERS in asked.organizations:
        why = f"use of {certificates.CLIENT} signer with {_MASTERS} group is not allowed"
        raise calls.forbidden(CSR, name, why)


def approved(server: Apiserver, call: Call, new: JSON, old: JSON, now: str) -> JSON:
    """What /approval makes of a request: its conditions, and nothing else, become the new ones.

    Raises ApiError Forbidden.
    """
    conditions = (new.get("status") or {}).get("conditions") or []
    _demand(server, call, "approve", old, "approve requests")
    status = {**old.get("status", {}), "conditions": _timed(conditions, old, now)}
    return {**old, "metadata": new["metadata"], "status": status}


def reported(server: Apiserver, call: Call, new: JSON, old: JSON, now: str) -> JSON:
    """What /status makes of a request: the certificate and conditions of the signer.

    Raises ApiError Forbidden.
    """
    status, before = dict(new.get("status") or {}), old.get("status") or {}
    conditions = list(status.get("conditions") or [])
    for kind in _DECIDED:
        mine = [i for i, c in enumerate(conditions) if c.get("type") == kind]
        theirs = [c for c in before.get("conditions") or () if c.get("type") == kind]
        if len(mine) == len(theirs):  # else the check tells that they may not come or go
            for index, kept in zip(mine, theirs, strict=True):
                conditions[index] = kept
    failed = _has(conditions, "Failed") and not _has(before.get("conditions") or (), "Failed")
    if failed or status.get("certificate") != before.get("certificate"):
        _demand(server, call, "sign", old, "sign requests")
    if conditions:
        status["conditions"] = _timed(conditions, old, now)
    return {**old, "metadata": new["metadata"], "status": status}


def _has(conditions: Sequence[JSON], kind: str) -> bool:
    return any(c.get("type") == kind for c in conditions)


def _timed(conditions: list[JSON], old: JSON, now: str) -> list[JSON]:
    """Conditions with the times that they lack."""
    before = (old.get("status") or {}).get("conditions") or []
    timed: list[JSON] = []
    for condition in conditions:
        since = [
            c["lastTransitionTime"]
            for c in before
            if c.get("type") == condition.get("type")
            and c.get("status") == condition.get("status")
            and c.get("lastTransitionTime")
        ]
        filled = {key: value for key, value in condition.items() if value is not None}
        filled.setdefault("lastUpdateTime", now)
        filled.setdefault("lastTransitionTime", since[0] if since else now)
        timed.append(filled)
    return timed


def _demand(server: Apiserver, call: Call, verb: str, old: JSON, what: str) -> None:
    """Signers are guarded by name, or all of a domain at once."""
    signer = old.get("spec", {}).get("signerName", "")
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        asked = Attributes(call.user, verb, CSR.group, "*", "signers", name=name)
        if authorizer.authorize(server, asked)[0]:
            return
    why = f'user not permitted to {what} with signerName "{signer}"'
    raise calls.forbidden(CSR, call.name, why)


def check(errors: Errors, subresource: str, new: JSON, old: JSON) -> None:
    """Whether a CSR may follow another by a subresource. Source: apis/certificates/validation."""
    path = "status.conditions"
    mine = (new.get("status") or {}).get("conditions") or []
    theirs = (old.get("status") or {}).get("conditions") or []
    _check_conditions(errors, mine)
    for kind in (*_DECIDED, "Failed"):
        have, had = _of(mine, kind), _of(theirs, kind)
        if len(have) < len(had):
            errors.forbidden(path, f'updates may not remove a condition of type "{kind}"')
        elif subresource != "approval" and kind in _DECIDED and len(have) > len(had):
            errors.forbidden(path, f'updates may not add a condition of type "{kind}"')
    issued = (old.get("status") or {}).get("certificate")
    given = (new.get("status") or {}).get("certificate")
    if given != issued:
        if subresource != "status":
            errors.forbidden("status.certificate", "updates may not set certificate content")
        elif issued:
            why = "updates may not modify existing certificate content"
            errors.forbidden("status.certificate", why)
        elif wrong := certificates.certificate_complaint(given or ""):
            errors.invalid("status.certificate", "<certificate data>", wrong)


def _of(conditions: list[JSON], kind: str) -> list[JSON]:
    return [c for c in conditions if c.get("type") == kind]


def _check_conditions(errors: Errors, conditions: list[JSON]) -> None:
    path, seen = "status.conditions", list[str]()
    for index, condition in enumerate(conditions):
        kind, status = condition.get("type") or "", condition.get("status") or ""
        if not kind:
            errors.required(f"{path}[{index}].type")
        known = ("True",) if kind in {*_DECIDED, "Failed"} else ("False", "True", "Unknown")
        if not status:
            errors.required(f"{path}[{index}].status")
        else:
            errors.one_of(f"{path}[{index}].status", status, known)
        if kind in _DECIDED and any(other in seen for other in _DECIDED if other != kind):
            why = "Approved and Denied conditions are mutually exclusive"
            errors.invalid(path, kind, why)
        if kind in seen:
            errors.duplicate(f"{path}[{index}].type", kind)
        seen.append(kind)
