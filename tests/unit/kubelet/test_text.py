"""How times, durations and images are written."""

import pytest

from podwire.kubelet.profile import image_bytes, image_id, normalized
from podwire.kubelet.text import go_duration, nano_time


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (812, "812ms"), (1200, "1.2s"), (62_500, "1m2.5s"), (3_600_000, "1h0m0s")],
)
def test_durations_read_as_go_prints_them(ms, text):
    """As in "Successfully pulled image ... in 1.2s"."""
    assert go_duration(ms * 1_000_000) == text


def test_log_lines_are_stamped_with_nine_decimals():
    """As kubectl logs --timestamps prints them."""
    assert nano_time(1_767_225_600_123_456_789) == "2026-01-01T00:00:00.123456789Z"


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("hashicorp/http-echo:1.0", "docker.io/hashicorp/http-echo:1.0"),
        ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
    ],
)
def test_image_references_are_completed_as_containerd_does(image, full):
    """What status.containerStatuses[].image shows."""
    assert normalized(image) == full


def test_unknown_images_have_a_stable_believable_size_and_digest():
    """The same name is the same image on every node and in every run."""
    assert image_bytes("shop/cart:v1") == image_bytes("docker.io/shop/cart:v1")
    assert 20_000_000 <= image_bytes("shop/cart:v1") < 120_000_000
    assert image_id("nginx:1.27").startswith("docker.io/library/nginx@sha256:")
