"""Names of images: which can be read, and what is said of the others.

Source: what kubernetes pkg/util/parsers (ParseImageName) says of them.
"""

from __future__ import annotations

import pytest

from podwire.kubelet.reference import fault

GOOD = (
    *("nginx", "nginx:1.29", "lowercase:Uppercase", "test_com", "registry.k8s.io/pause:3.10"),
    *("localhost/x", "localhost:5000/x/y:z", "[2001:db8::1]:5000/repo", "[2001:db8::1]/repo:tag"),
    *("a__b/c-d.e", "123/foo", "docker.io/nginx", "index.docker.io/nginx", "DOCKER.io/nginx"),
    *("Nginx/web", "Uppercase/lowercase:tag"),
)
F64 = "f" * 64
FORMAT = "invalid reference format"
BAD = {
    "NGINX": f"{FORMAT}: repository name (library/NGINX) must be lowercase",
    "t:5000/Up/low:tag": f"{FORMAT}: repository name (Up/low) must be lowercase",
    **dict.fromkeys(
        ["", ":tag", f"@sha256:{F64}", "aa/asdf$$^/aa", "a//b", "a___b", "-foo/bar", "foo./bar",
         "foo_bar.com:8080/x", "nginx :1", "nginx:", "nginx:-x"], FORMAT,
    ),
    "repo@sha256:ffffffffffffffffffffffffffffffffff": "invalid checksum digest length",
    f"repo@sha256:{F64[1:]}F": "invalid checksum digest format",
    f"repo@other:{F64}": "unsupported digest algorithm",
    f"a.b/{'g' * 256}": "repository name must not be more than 255 characters",
    F64: f"invalid repository name ({F64}), cannot specify 64-byte hexadecimal strings",
}  # fmt: skip


def test_a_good_name_has_no_fault():
    """With domain, port, tag, digest, or none of them."""
    for image in (*GOOD, f"repo:tag@sha256:{F64}", f"{F64}:tag"):
        assert fault(image) == "", image


@pytest.mark.parametrize("image", BAD)
def test_a_bad_name_is_refused_in_upstreams_words(image):
    """The words end up in the container's waiting state."""
    assert fault(image) == BAD[image]
