"""ServiceAccount: every pod runs as one that exists, and finds its token in a volume.

Source: upstream plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ServiceAccount
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin, always
from podwire.apiserver.admission.review import Review

_MIRROR = "kubernetes.io/config.mirror"
_PREFIX = "kube-api-access-"
_TOKEN_S = 3607
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"


def admit(review: Review) -> None:
    """Default and check spec.serviceAccountName of a new pod. Raises ApiError Forbidden."""
    if _MIRROR in (review.obj["metadata"].get("annotations") or {}):
        return
    spec = review.obj.setdefault("spec", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    entry = review.server.caches.of(kinds.SERVICE_ACCOUNT).get(review.namespace, name)
    if entry is None:
        why = (
            f"error looking up service account {review.namespace}/{name}: "
            f'serviceaccount "{name}" not found'
        )
        raise calls.forbidden(kinds.POD, review.name, why)
    account: ServiceAccount = entry.view
    mount = spec.get("automountServiceAccountToken")
    if mount is None:
        mount = account.automount_service_account_token is not False
    if mount and review.server.authenticator.accounts is not None:
        _mount_token(review, spec)


def _mount_token(review: Review, spec: JSON) -> None:
    """Give every container without one the token volume."""
    lacking = [
        container
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        if all(m.get("mountPath") != TOKENS for m in container.get("volumeMounts") or ())
    ]
    if not lacking:
        return
    volumes = spec.setdefault("volumes", [])
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(_PREFIX)), "")
    if not name:
        name = _PREFIX + review.suffix()
        volumes.append({"name": name, "projected": _projected()})
    for container in lacking:
        mounts = container.setdefault("volumeMounts", [])
        mounts.append({"name": name, "readOnly": True, "mountPath": TOKENS})


def _projected() -> JSON:
    """serviceaccount.TokenVolumeSource of upstream."""
    ca = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_S, "path": "token"}},
            {"configMap": ca},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }


PLUGIN = Plugin("ServiceAccount", admit, kinds=(kinds.POD,), operations=("CREATE",), repeats=always)
