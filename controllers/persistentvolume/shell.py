"""The binder's informers and queue (keys: claims as ``namespace/name``, volumes by name)."""

from __future__ import annotations

from collections.abc import Iterator

from podwire.api import kinds
from podwire.api.views import Object, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass
from podwire.client.driver import Driver, split_key
from podwire.client.effects import Effect
from podwire.controllers.persistentvolume import core
from podwire.controllers.world import World


def _claims_of(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            name = volume.persistent_volume_claim.get("claimName", "")
            yield f"{pod.metadata.namespace}/{name}"


class PersistentVolumes:
    """Looks at a claim when it, its volume, its class or a pod that uses it changes."""

    def __init__(self, world: World) -> None:
        informers = world.informers
        self._claims = informers.informer(kinds.PERSISTENT_VOLUME_CLAIM)
        self._volumes = informers.informer(kinds.PERSISTENT_VOLUME)
        self._classes = informers.informer(kinds.STORAGE_CLASS)
        self._pods = informers.informer(kinds.POD)
        self._pods.add_index("claim", _claims_of)
        self._waiting: dict[str, None] = {}
        """Claims that have no volume yet."""
        self.driver = world.driver(
            "persistentvolume", self._reconcile,
            expect=(self._claims, self._volumes), component="persistentvolume-controller",
        )  # fmt: skip
        self._claims.on_change(self._claim_changed)
        self._volumes.on_change(self._volume_changed)
        self._classes.on_change(self._class_changed)
        self._pods.on_change(self._pod_changed)

    def _claim_changed(
        self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None
    ) -> None:
        item = new or old
        assert item is not None, "a change has a before or an after"
        self.driver.add(item.key)
        if item.spec.volume_name:
            self.driver.add(item.spec.volume_name)

    def _volume_changed(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        item = new or old
        assert item is not None, "a change has a before or an after"
        self.driver.add(item.key)
        if (ref := item.spec.claim_ref) is not None:
            self.driver.add(f"{ref.namespace}/{ref.name}")
        else:
            self._again()

    def _class_changed(self, _old: StorageClass | None, _new: StorageClass | None) -> None:
        self._again()

    def _again(self) -> None:
        for key in self._waiting:
            self.driver.add(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None, "a change has a before or an after"
        if old is None or new is None or _standing(old) != _standing(new):
            for key in _claims_of(pod):
                self.driver.add(key)
            name = pod.metadata.name
            if name.startswith(core.HELPER) and pod.metadata.namespace == "kube-system":
                self.driver.add(name.removeprefix(core.HELPER))

    async def _reconcile(self, key: str) -> list[Effect]:
        namespace, name = split_key(key)
        if not namespace:
            return self._volume(name)
        item = self._claims.by_key(key)
        self._waiting.pop(key, None)
        if item is None:
            return []
        if not item.spec.volume_name:
            self._waiting[key] = None
        known = self._classes.get("", item.spec.storage_class_name or "")
        seen = core.Seen(self._volumes.list(), known, self._pods.by_index("claim", key))
        return core.claim(item, seen)

    def _volume(self, name: str) -> list[Effect]:
        item = self._volumes.get("", name)
        if item is None:
            return []
        ref = item.spec.claim_ref
        claim = self._claims.get(ref.namespace, ref.name) if ref is not None else None
        return core.volume(item, claim, self._pods.get("kube-system", core.HELPER + name))


def _standing(pod: Object) -> tuple[object, ...]:
    """What of a pod decides about its claims."""
    assert isinstance(pod, Pod), "a pod's informer gives pods"
    return pod.spec.node_name, pod.status.phase


def build(world: World) -> Driver:
    """The binder of volumes."""
    return PersistentVolumes(world).driver
