"""What a Secret of type kubernetes.io/service-account-token must hold (pure).

Source: kubernetes pkg/controller/serviceaccount (tokens_controller.go).
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import Secret, ServiceAccount
from podwire.client.effects import Delete, Effect, Patch

TYPE = "kubernetes.io/service-account-token"
NAME = "kubernetes.io/service-account.name"
UID = "kubernetes.io/service-account.uid"

Sign = Callable[[ServiceAccount, str], str]
"""The token of an account that stands in the Secret of this name."""


def account_of(secret: Secret) -> str:
    """Key of the account whose token a Secret is to hold, "" for any other Secret."""
    name = secret.metadata.annotations.get(NAME, "")
    if secret.type != TYPE or not name:
        return ""
    return f"{secret.metadata.namespace}/{name}"


def reconcile(
    secret: Secret | None, account: ServiceAccount | None, root_ca: str, sign: Sign
) -> list[Effect]:
    """Fill the Secret, or delete it when its account is gone."""
    if secret is None or secret.metadata.deletion_timestamp or not account_of(secret):
        return []
    meta = secret.metadata
    wanted_uid = meta.annotations.get(UID, "")
    if account is None or (wanted_uid and wanted_uid != account.metadata.uid):
        return [Delete(kinds.SECRET, meta.name, meta.namespace, uid=meta.uid)]
    data: JSON = {}
    if root_ca and _text(secret, "ca.crt") != root_ca:
        data["ca.crt"] = _base64(root_ca)
    if _text(secret, "namespace") != meta.namespace:
        data["namespace"] = _base64(meta.namespace)
    if not secret.data.get("token"):
        data["token"] = _base64(sign(account, meta.name))
    notes = {} if wanted_uid else {UID: account.metadata.uid}
    if not data and not notes:
        return []
    guard: JSON = {"uid": meta.uid, "resourceVersion": meta.resource_version}
    if notes:
        guard["annotations"] = notes
    patch = {"metadata": guard, "data": data} if data else {"metadata": guard}
    return [Patch(kinds.SECRET, meta.name, patch, meta.namespace, missing_ok=True)]


def _text(secret: Secret, key: str) -> str:
    return base64.b64decode(secret.data.get(key, "")).decode(errors="replace")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
