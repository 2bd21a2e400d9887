"""Manifests of static pods: a file's bytes in, a pod out. Pure.

Source of the behaviour: kubernetes pkg/kubelet/config (common.go: tryDecodeSinglePod,
applyDefaults) and pkg/api/pod (HasAPIObjectReference). The hash is of our own JSON: it tells
contents apart as upstream's does, with other digits.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from podwire.api import codec, kinds, objects, validation, yamldoc
from podwire.api.status import ApiError
from podwire.api.view import JSON

HASH = "kubernetes.io/config.hash"
SOURCE = "kubernetes.io/config.source"
SEEN = "kubernetes.io/config.seen"
MIRROR = "kubernetes.io/config.mirror"
_TOLERATION = {"operator": "Exists", "effect": "NoExecute"}


class ManifestError(Exception):
    """A file is no manifest of a static pod; the message is what kubelet logs."""


def read(path: str, data: bytes, node: str) -> JSON:
    """The static pod of a manifest (YAML or JSON) on a node. Raises ManifestError."""
    if len(data) > codec.MAX_BODY_BYTES:
        raise ManifestError(f"{path}: couldn't parse as pod({codec.TOO_LARGE})")
    obj = _decode(path, data)
    metadata, spec = obj.setdefault("metadata", {}), obj.setdefault("spec", {})
    if not metadata.get("name"):
        raise ManifestError("invalid pod: name is needed for the pod")
    objects.default(kinds.POD, obj)
    digest = hashlib.md5(f"host:{node}file:{path}".encode(), usedforsecurity=False)
    digest.update(json.dumps(obj, sort_keys=True).encode())
    uid = metadata.setdefault("uid", digest.hexdigest())
    metadata["name"] = f"{metadata['name']}-{node.lower()}"
    metadata.setdefault("namespace", "default")
    annotations = metadata["annotations"] = dict(metadata.get("annotations") or {})
    annotations |= {HASH: uid, SOURCE: "file"}
    spec["nodeName"] = node
    tolerations = spec.setdefault("tolerations", [])
    if _TOLERATION not in tolerations:
        tolerations.append(dict(_TOLERATION))
    if causes := validation.validate(kinds.POD, obj):
        told = " ".join(f"{cause.field}: {cause.message}" for cause in causes)
        raise ManifestError(f"invalid pod: [{told}]")
    if found := _reference(spec):
        raise ManifestError(f"static pods may not reference {found}")
    obj["status"] = {"phase": "Pending"}
    return obj


def mirror(pod: JSON, owner: JSON) -> JSON:
    """The mirror pod of a static pod on the node of the ownerReference ``owner``."""
    metadata = dict(pod["metadata"])
    metadata.pop("uid")
    metadata["annotations"] = {**metadata["annotations"], MIRROR: pod["metadata"]["uid"]}
    metadata["ownerReferences"] = [owner]
    return {"metadata": metadata, "spec": pod["spec"]}


def _decode(path: str, data: bytes) -> JSON:
    try:
        raw = yamldoc.load(data)
        _check_kind(raw)
        return codec.check(raw, "v1", "Pod", codec.IGNORE).obj
    except (yamldoc.YamlError, ApiError, ManifestError) as error:
        why = error.message if isinstance(error, ApiError) else str(error)
        why = why.removeprefix("error converting YAML to JSON: ")
        raise ManifestError(
            f"{path}: couldn't parse as pod({why}), please check config file"
        ) from None


def _check_kind(raw: Any) -> None:
    """Hold a value to what apimachinery's decoder asks of it. Raises ManifestError."""
    shown = json.dumps(raw)
    if not isinstance(raw, dict) or not raw.get("kind"):
        raise ManifestError(f"Object 'Kind' is missing in '{shown[:512]}'")
    version, kind = raw.get("apiVersion"), raw["kind"]
    if not version:
        raise ManifestError(f"Object 'apiVersion' is missing in '{shown[:512]}'")
    if (version, kind) != ("v1", "Pod"):
        if kinds.by_gvk(str(version), str(kind)) is not None:
            raise ManifestError(f"invalid pod: {version}, Kind={kind}")
        raise ManifestError(
            f'no kind "{kind}" is registered for version "{version}" in scheme '
            '"pkg/api/legacyscheme/scheme.go:30"'
        )


def _reference(spec: JSON) -> str:
    """The resource of an API object that the pod refers to; '' when there is none."""
    if spec.get("serviceAccountName"):
        return "serviceaccounts"
    containers = [
        c
        for key in ("initContainers", "containers", "ephemeralContainers")
        for c in spec.get(key) or ()
    ]
    env = [variable.get("valueFrom") or {} for c in containers for variable in c.get("env") or ()]
    env_from = [source for c in containers for source in c.get("envFrom") or ()]
    volumes = spec.get("volumes") or []
    projected = [s for v in volumes for s in (v.get("projected") or {}).get("sources") or ()]
    if (
        spec.get("imagePullSecrets")
        or any("secretKeyRef" in ref for ref in env)
        or any("secretRef" in source for source in env_from)
        or any("secret" in source for source in (*volumes, *projected))
    ):
        return "secrets"
    if (
        any("configMapKeyRef" in ref for ref in env)
        or any("configMapRef" in source for source in env_from)
        or any("configMap" in source for source in (*volumes, *projected))
    ):
        return "configmaps"
    if spec.get("resourceClaims"):
        return "resourceclaims"
    if any("persistentVolumeClaim" in v or "ephemeral" in v for v in volumes):
        return "persistentvolumeclaims"
    for key, resource in (
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
        ("serviceAccountToken", "serviceaccounts"),
    ):
        if any(key in source for source in projected):
            return resource
    return ""
