"""What a pod's spec refers to in its namespace: the one list that kubelet fetches and that a node
may therefore read.

Source: kubernetes pkg/api/v1/pod (VisitPodSecretNames, VisitPodConfigmapNames). Volume types that
are not modelled refer to nothing here.
"""

from __future__ import annotations

from typing import NamedTuple

from podwire.api.view import JSON
from podwire.api.views import Pod

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of a pod that shows a static one: it refers to nothing."""


class References(NamedTuple):
    """Names, each once, in the order of the spec."""

    secrets: tuple[str, ...]
    config_maps: tuple[str, ...]
    claims: tuple[str, ...]


def references(pod: Pod) -> References:
    """Secrets, ConfigMaps and PersistentVolumeClaims that a pod names."""
    secrets: dict[str, None] = {ref.name: None for ref in pod.spec.image_pull_secrets}
    maps: dict[str, None] = {}
    claims: dict[str, None] = {}
    spec = pod.spec
    for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
        for source in container.env_from:
            if source.config_map_ref is not None:
                maps[source.config_map_ref.name] = None
            if source.secret_ref is not None:
                secrets[source.secret_ref.name] = None
        for variable in container.env:
            found = variable.value_from
            if found is not None and found.config_map_key_ref is not None:
                maps[found.config_map_key_ref.name] = None
            if found is not None and found.secret_key_ref is not None:
                secrets[found.secret_key_ref.name] = None
    for volume in spec.volumes:
        if volume.config_map is not None:
            maps[volume.config_map.name] = None
        if volume.secret is not None:
            secrets[volume.secret.secret_name] = None
        if volume.persistent_volume_claim is not None:
            claims[volume.persistent_volume_claim.get("claimName") or ""] = None
        if volume.ephemeral is not None:
            claims[f"{pod.metadata.name}-{volume.name}"] = None
        for projected in (volume.projected or {}).get("sources") or ():
            _projected(projected, secrets, maps)
    for names in (secrets, maps, claims):
        names.pop("", None)
    return References(tuple(secrets), tuple(maps), tuple(claims))


def _projected(source: JSON, secrets: dict[str, None], maps: dict[str, None]) -> None:
    if source.get("secret"):
        secrets[source["secret"].get("name") or ""] = None
    if source.get("configMap"):
        maps[source["configMap"].get("name") or ""] = None
