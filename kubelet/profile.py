"""How long things take on a node: the modelled times of a kubelet and its container runtime.

``typical`` resembles a small real cluster; ``slow`` a loaded one; ``fast`` keeps the order of
events but makes them a few milliseconds long. Jitter comes from the kubelet's own random stream.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from podwire.runtime.ports import Rng

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Profile:
    """Durations in seconds; each is spread by +-``jitter``."""

    name: str
    resolve_s: float
    """Asking a registry what an image is."""
    pull_bytes_per_s: float
    sandbox_s: float
    """Creating a network namespace and starting the pause container."""
    create_s: float
    start_s: float
    observe_s: float
    """Until kubelet notices what happened in the runtime (a start, an exit, a conflist). A program
    has this long before its first probe: longer than a round trip to the API server."""
    resync_s: float
    """Until a failed sandbox or mount is tried again."""
    volume_sync_s: float
    """Until a changed ConfigMap or Secret reaches the files of running containers."""
    jitter: float = 0.2

    def take(self, duration_s: float, rng: Rng) -> float:
        """One draw of a duration."""
        return duration_s * (1 + self.jitter * (2 * rng.random() - 1))


PROFILES = {
    "fast": Profile("fast", 0.002, 20_000 * MB, 0.002, 0.001, 0.001, 0.005, 0.05, 0.5),
    "typical": Profile("typical", 0.35, 60 * MB, 0.25, 0.05, 0.08, 0.4, 2.0, 45.0),
    "slow": Profile("slow", 1.5, 12 * MB, 1.2, 0.3, 0.4, 1.0, 10.0, 75.0),
}

_KNOWN_BYTES = {
    "registry.k8s.io/pause": 320_448,
    "registry.k8s.io/kube-proxy": 30_100_000,
    "registry.k8s.io/coredns/coredns": 22_400_000,
    "ghcr.io/flannel-io/flannel": 33_700_000,
    "quay.io/calico/node": 158_000_000,
    "registry.k8s.io/e2e-test-images/agnhost": 51_200_000,
    "docker.io/library/nginx": 72_400_000,
    "docker.io/library/busybox": 2_220_000,
    "docker.io/library/alpine": 3_650_000,
    "docker.io/hashicorp/http-echo": 5_900_000,
    "docker.io/nicolaka/netshoot": 203_000_000,
    "docker.io/curlimages/curl": 9_600_000,
}


def normalized(image: str) -> str:
    """An image reference in full, as containerd names it (``docker.io/library/nginx:latest``)."""
    name, at, digest = image.partition("@")
    head, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in head and ":" not in head and head != "localhost":
        name = f"docker.io/{head}/{rest}"
    if at:
        return f"{name}@{digest}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def image_bytes(image: str) -> int:
    """The compressed size of an image: known ones as published, others 20-120 MB by their name."""
    full = normalized(image)
    repository = full.partition("@")[0]
    repository = repository[: repository.rfind(":")] if ":" in repository else repository
    known = _KNOWN_BYTES.get(repository)
    if known is not None:
        return known
    digest = hashlib.sha256(full.encode()).digest()
    return 20 * MB + int.from_bytes(digest[:4]) % (100 * MB)


def image_digest(image: str) -> str:
    """A stable ``sha256:`` digest of an image reference."""
    return f"sha256:{hashlib.sha256(normalized(image).encode()).hexdigest()}"


def image_id(image: str) -> str:
    """status.imageID: the repository with the digest."""
    full = normalized(image).partition("@")[0]
    head, _, last = full.rpartition("/")
    return f"{head}/{last.partition(':')[0]}@{image_digest(image)}"
