"""A pod's volumes: rendered from ConfigMaps, Secrets and the pod itself, or from the node's disk.

Changes reach the files of running containers after the kubelet's sync delay, as in life; mounts
with subPath never change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.api.views import Container, KeyToPath, Pod, Volume
from podwire.client.api import Client
from podwire.kubelet.atomic import DISK_MODE, MEMORY_MODE, AtomicFiles, Item, Payload
from podwire.kubelet.disk import NodeDisk
from podwire.kubelet.env import (
    ConfigError,
    Lookups,
    config_map_data,
    expand,
    field_ref,
    resource_field,
    secret_data,
)
from podwire.kubelet.files import Guarded, HostFiles, Source, SubPath, Writable, normal
from podwire.kubelet.tokens import RETRY_S, PodTokens, TokenError
from podwire.runtime.ports import Clock, Rng


class MountError(Exception):
    """A volume cannot be set up; the message follows ``MountVolume.SetUp failed ...``."""


Object = tuple[str, str]
"""("configmap" | "secret", name) in the pod's namespace."""


def references(volume: Volume) -> list[Object]:
    """The ConfigMaps and Secrets a volume is made from."""
    found: list[Object] = []
    if volume.config_map is not None:
        found.append(("configmap", volume.config_map.name))
    if volume.secret is not None:
        found.append(("secret", volume.secret.secret_name))
    for source in _sources(volume):
        if "configMap" in source:
            found.append(("configmap", source["configMap"].get("name", "")))
        if "secret" in source:
            found.append(("secret", source["secret"].get("name", "")))
    return found


def _sources(volume: Volume) -> list[JSON]:
    sources: list[JSON] = (volume.projected or {}).get("sources") or []
    return sources


_Key = tuple[str, str, int | None]
"""Key, path, and the file's own mode."""


def _items(items: Sequence[KeyToPath]) -> list[_Key]:
    return [(item.key, item.path, item.mode) for item in items]


def _mode(source: JSON) -> int:
    mode: int = source.get("defaultMode", 0o644)
    return mode


def _one_user(pod: Pod) -> int | None:
    """The user that all containers run as, if they say so (volume/util, FsUserFrom)."""
    shared = pod.spec.security_context.run_as_user
    own = [
        c.security_context.run_as_user
        if c.security_context is not None and c.security_context.run_as_user is not None
        else shared
        for c in (*pod.spec.init_containers, *pod.spec.containers)
    ]
    return own[0] if own and len(dict.fromkeys(own)) == 1 else None


class PodVolumes:
    """The mounted volumes of one pod, shared by its containers."""

    def __init__(
        self,
        pod: Callable[[], Pod],
        lookups: Lookups,
        disk: NodeDisk,
        client: Client,
        tokens: PodTokens,
        addresses: Callable[[], tuple[tuple[str, ...], tuple[str, ...]]],
        allocatable: Mapping[str, str],
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._pod = pod
        self._lookups = lookups
        self._disk = disk
        self._client = client
        self._tokens = tokens
        self._addresses = addresses
        self._allocatable = allocatable
        self._clock = clock
        self._rng = rng
        self._stamps = 0
        self._mounted: dict[str, Source] = {}
        volumes = pod().spec.volumes
        self._users = {ref: None for volume in volumes for ref in references(volume)}

    def uses(self, kind: str, name: str) -> bool:
        """Whether a volume is made from this ConfigMap or Secret."""
        return (kind, name) in self._users

    async def mount(self) -> list[tuple[str, str]]:
        """Set up what is not mounted yet; the (volume, message) of those that failed."""
        failures = []
        for volume in self._pod().spec.volumes:
            if volume.name in self._mounted:
                continue
            try:
                self._mounted[volume.name] = await self._set_up(volume)
            except (MountError, ConfigError, TokenError) as error:
                failures.append((volume.name, str(error)))
        return failures

    def refresh(self) -> None:
        """Bring rendered files up to date; a vanished source keeps the old content."""
        for volume in self._pod().spec.volumes:
            mounted = self._mounted.get(volume.name)
            if isinstance(mounted, AtomicFiles):
                try:
                    mounted.update(self._render(volume))
                except (MountError, ConfigError):
                    continue

    def tokens_due_s(self) -> float | None:
        """Seconds until tokens in projected volumes are to be renewed; None without any."""
        return self._tokens.renewal_s()

    async def renew_tokens(self) -> None:
        """Renew those that are due; one that was refused is due again."""
        try:
            for volume in self._pod().spec.volumes:
                await self._tokens.fetch(_sources(volume))
        except TokenError:
            await self._clock.sleep(RETRY_S)
        self.refresh()

    async def _set_up(self, volume: Volume) -> Source:
        if volume.host_path is not None:
            await self._disk.mirror(volume.host_path.path)
            return HostFiles(self._disk, volume.host_path.path)
        if volume.persistent_volume_claim is not None:
            return await self._persistent(volume.persistent_volume_claim)
        for name in ("csi", "nfs", "ephemeral"):
            if getattr(volume, name) is not None:
                raise MountError(f"volume source {name} is not modelled")
        await self._tokens.fetch(_sources(volume))
        group = self._pod().spec.security_context.fs_group
        if volume.config_map or volume.secret or volume.projected or volume.downward_api:
            mode = DISK_MODE if volume.config_map else MEMORY_MODE
            return AtomicFiles(self._render(volume), mode, group, self._stamp)
        return Writable(0o777, group)

    async def _persistent(self, asked: JSON) -> Source:
        """A bound claim's volume: a folder of this node's disk."""
        name, namespace = asked.get("claimName", ""), self._pod().metadata.namespace
        try:
            claim = await self._client.get(kinds.PERSISTENT_VOLUME_CLAIM, name, namespace)
            if claim.status.phase != "Bound" or not claim.spec.volume_name:
                raise MountError(f"error processing PVC {namespace}/{name}: PVC is not bound")
            found = await self._client.get(kinds.PERSISTENT_VOLUME, claim.spec.volume_name)
        except (ApiError, ConnectionError) as error:
            raise MountError(f"error processing PVC {namespace}/{name}: {error}") from None
        place = found.spec.host_path or found.spec.local
        if place is None:
            raise MountError(
                f"the source of PersistentVolume {found.metadata.name} is not modelled"
            )
        path = str(place.get("path", ""))
        await self._disk.mirror(path)
        files = HostFiles(self._disk, path)
        return Guarded(files) if asked.get("readOnly") else files

    def _stamp(self) -> tuple[str, int]:
        """A folder's name (Go's MkdirTemp after the time of day) and the time."""
        now_ns = self._clock.now_ns()
        digits = re.sub(r"[-T:]", "_", format_time(now_ns).removesuffix("Z"))
        self._stamps += 1
        # A stream of its own: the state behind one draw is not kept for the pod's life.
        number = self._rng.child(f"{self._stamps}").below(10**10)
        return f"..{digits}.{number}", now_ns

    def _render(self, volume: Volume) -> Payload:
        if source := volume.config_map:
            return self._keys(
                "configmap", source.name, _items(source.items), source.default_mode,
                optional=source.optional,
            )  # fmt: skip
        if secret := volume.secret:
            return self._keys(
                "secret", secret.secret_name, _items(secret.items), secret.default_mode,
                optional=secret.optional,
            )  # fmt: skip
        if volume.downward_api:
            return self._downward(volume.downward_api, _mode(volume.downward_api))
        files: dict[str, Item] = {}
        for part in _sources(volume):
            files.update(self._projected(part, _mode(volume.projected or {})))
        return files

    def _projected(self, part: JSON, mode: int) -> Payload:
        for key, kind in (("configMap", "configmap"), ("secret", "secret")):
            if source := part.get(key):
                items = [(i["key"], i["path"], i.get("mode")) for i in source.get("items") or ()]
                return self._keys(
                    kind, source.get("name", ""), items, mode,
                    optional=bool(source.get("optional")),
                )  # fmt: skip
        if "downwardAPI" in part:
            return self._downward(part["downwardAPI"], mode)
        if "serviceAccountToken" in part:
            asked = part["serviceAccountToken"]
            user = _one_user(self._pod())
            if user is not None or self._pod().spec.security_context.fs_group is not None:
                mode = 0o600  # readable for the one user and the group of the volume only
            token = Item(self._tokens.of(asked), mode, user or 0)
            return {asked.get("path", "token"): token}
        raise MountError(f"projected source {sorted(part)} is not modelled")

    def _keys(
        self, kind: str, name: str, items: Sequence[_Key], mode: int, *, optional: bool
    ) -> Payload:
        namespace = self._pod().metadata.namespace
        data: Mapping[str, bytes]
        if kind == "configmap":
            config_map = self._lookups.config_map(namespace, name)
            found: Any = config_map
            data = config_map_data(config_map) if config_map else {}
        else:
            secret = self._lookups.secret(namespace, name)
            found = secret
            data = secret_data(secret) if secret else {}
        if found is None and not optional:
            raise MountError(f'{kind} "{name}" not found')
        if not items:
            return {key: Item(value, mode) for key, value in data.items()}
        files = {}
        for key, path, own in items:
            if key in data:
                files[path] = Item(data[key], mode if own is None else own)
            elif not optional:
                what = "configmap references non-existent config key"
                if kind == "secret":
                    what = "references non-existent secret key"
                raise MountError(f"{what}: {key}")
        return files

    def _downward(self, source: JSON, mode: int) -> Payload:
        host_ips, pod_ips = self._addresses()
        files = {}
        for item in source.get("items") or ():
            if ref := item.get("fieldRef"):
                value = field_ref(
                    self._pod(), ref.get("fieldPath", ""), host_ips=host_ips, pod_ips=pod_ips
                )
            else:
                ref = item.get("resourceFieldRef") or {}
                value = resource_field(self._pod(), "", ref, self._allocatable)
            files[item["path"]] = Item(value.encode(), item.get("mode") or mode)
        return files

    def mounts(
        self, container: Container, variables: Mapping[str, str]
    ) -> list[tuple[str, Source]]:
        """The container's mounts. Raises ConfigError for a volume that does not exist.

        ``variables`` are what a subPathExpr may name.
        """
        found: list[tuple[str, Source]] = []
        for mount in container.volume_mounts:
            source = self._mounted.get(mount.name)
            if source is None:
                raise ConfigError(f'volume "{mount.name}" is not mounted')
            sub_path = mount.sub_path or expand(mount.sub_path_expr, variables)
            if sub_path:
                if isinstance(source, AtomicFiles):  # a subPath mount never sees an update
                    source = source.frozen()
                source = SubPath(source, sub_path)
            if mount.read_only:
                source = Guarded(source)
            found.append((normal(mount.mount_path), source))
        return found
