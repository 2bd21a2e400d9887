"""Images on a node: pulled one at a time, kept, and told about in events.

Messages and reasons as pkg/kubelet/images (the back-off repeats why: kubernetes PR 127918).
A registry below ``.invalid`` (RFC 2606) never answers; nginx and busybox have the tags that look
like theirs (nginx:1.161 of the page about Deployments does not); any other image exists.
ImageInspectError (a runtime that fails to look at its own images), RegistryUnavailable and
SignatureValidationFailed (which containerd never tells) are not modelled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable

from podwire.api.times import NS
from podwire.api.views import Container
from podwire.kubelet.core import Backoff
from podwire.kubelet.profile import Profile, image_bytes, normalized
from podwire.kubelet.reference import fault
from podwire.kubelet.text import go_duration
from podwire.runtime.ports import Clock, Rng

_ADDITIONS = r"(-?(alpine(3\.\d\d?)?|slim|perl|otel|trixie|bookworm|bullseye|buster))*"
_VERSION = r"[1-9](\.[1-5]?\d(\.\d\d?)?)?"
_TAGS = {
    "docker.io/library/nginx": rf"latest|(stable|mainline|{_VERSION})?{_ADDITIONS}",
    "docker.io/library/busybox":
        rf"latest|(stable|unstable|{_VERSION})?(-?(glibc|musl|uclibc))?",
}  # fmt: skip
"""Which tags there are, where that is known (as patterns)."""

Emit = Callable[[str, str, str], None]
"""(event type, reason, message)"""


class ImageError(Exception):
    """The image is not there: ``reason`` and message become the container's waiting state."""

    def __init__(self, reason: str, message: str, retry_ns: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_ns = retry_ns
        """When to try again, from now."""


class Images:
    """The image store of one node."""

    def __init__(
        self, clock: Clock, rng: Rng, profile: Profile, preloaded: Iterable[str] = ()
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._profile = profile
        self._present = dict.fromkeys(normalized(image) for image in preloaded)
        self.on_change: Callable[[], None] = lambda: None
        """Called when an image has come."""
        self._backoff = Backoff()
        self._failed_ns: dict[str, int] = {}
        self._why: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()

    def list(self) -> list[str]:
        """The images present, in the order they came."""
        return list(self._present)

    async def ensure(self, container: Container, pod_uid: str, emit: Emit) -> None:
        """Have the container's image here, by its pull policy. Raises ImageError."""
        image = container.image
        if why := fault(image):
            message = (
                f'Failed to apply default image tag "{image}": couldn\'t parse image name '
                f'"{image}": {why}'
            )
            emit("Warning", "InspectFailed", message)
            raise ImageError("InvalidImageName", message, 10 * NS)
        full = normalized(image)
        policy = container.image_pull_policy or (
            "Always" if full.endswith(":latest") else "IfNotPresent"
        )
        if policy != "Always" and full in self._present:
            told = f'Container image "{image}" already present on machine'
            # Every image is there for everybody: none is pulled by a Secret.
            emit("Normal", "Pulled", f"{told} and can be accessed by the pod")
            return
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            emit("Warning", "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message, 10 * NS)
        self._check_backoff(f"{pod_uid}_{image}", image, emit)
        await self._pull(image, full, f"{pod_uid}_{image}", emit)

    def _check_backoff(self, key: str, image: str, emit: Emit) -> None:
        now = self._clock.monotonic_ns()
        remaining = self._backoff.remaining_ns(key, self._failed_ns.get(key, now), now)
        if key in self._failed_ns and remaining:
            message = f'Back-off pulling image "{image}"'
            emit("Normal", "BackOff", message)
            message = f"{message}: ErrImagePull: {self._why[key]}"
            raise ImageError("ImagePullBackOff", message, remaining)

    async def _pull(self, image: str, full: str, key: str, emit: Emit) -> None:
        emit("Normal", "Pulling", f'Pulling image "{image}"')
        asked = self._clock.monotonic_ns()
        async with self._one_at_a_time:
            began = self._clock.monotonic_ns()
            seconds = self._profile.resolve_s
            why_not = refusal(full)
            size = image_bytes(image)
            if full not in self._present and not why_not:
                seconds += size / self._profile.pull_bytes_per_s
            await self._clock.sleep(self._profile.take(seconds, self._rng))
            ended = self._clock.monotonic_ns()
        if why_not:
            self._refuse(image, why_not, key, ended, emit)
        if full not in self._present:
            self._present[full] = None
            self.on_change()
        emit(
            "Normal", "Pulled",
            f'Successfully pulled image "{image}" in {go_duration(ended - began)} '
            f"({go_duration(ended - asked)} including waiting). Image size: {size} bytes.",
        )  # fmt: skip

    def _refuse(self, image: str, why: str, key: str, now: int, emit: Emit) -> None:
        emit("Warning", "Failed", f'Failed to pull image "{image}": {why}')
        self._backoff.next(key, self._failed_ns.get(key, now), now)
        self._failed_ns[key], self._why[key] = now, why
        # The container is looked at again soon, and then says that it backs off.
        raise ImageError("ErrImagePull", why, self._profile_resync_ns())

    def _profile_resync_ns(self) -> int:
        return int(self._profile.resync_s * NS)


def refusal(full: str) -> str:
    """Why an image cannot be pulled, in containerd's words; "" when it can."""
    host, _, rest = full.partition("/")
    failed = f'failed to pull and unpack image "{full}": failed to resolve reference "{full}": '
    if host.partition(":")[0].endswith(".invalid"):
        repository, _, tag = rest.rpartition(":")
        url = f"https://{host}/v2/{repository}/manifests/{tag}"
        return f'{failed}failed to do request: Head "{url}": dial tcp: lookup {host}: no such host'
    name, _, tag = full.rpartition(":")
    known = _TAGS.get(name)
    if known is None or "@" in full or (tag and re.fullmatch(known, tag)):
        return ""
    return f"rpc error: code = NotFound desc = {failed}{full}: not found"
