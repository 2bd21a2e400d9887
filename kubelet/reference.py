"""Image references: what may stand there, and what is said of one that may not. Pure.

Source: distribution/reference (regexp.go, normalize.go), kubernetes pkg/util/parsers.
"""

from __future__ import annotations

import re

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_ALGORITHM = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*"
_REFERENCE = re.compile(
    rf"(?P<name>{_DOMAIN}/{_PART}(?:/{_PART})*)(?::\w[\w.-]{{0,127}})?"
    rf"(?:@(?P<algorithm>{_ALGORITHM}):(?P<hex>[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_HEX_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
_MAX_NAME = 255
_INVALID = "invalid reference format"


def fault(image: str) -> str:
    """Why an image's name cannot be read; '' when it can."""
    if _IDENTIFIER.fullmatch(image):
        return f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
    domain, rest = _split(image)
    remote = rest.partition(":")[0]
    if remote.lower() != remote:
        return f"{_INVALID}: repository name ({remote}) must be lowercase"
    found = _REFERENCE.fullmatch(f"{domain}/{rest}")
    if found is None:
        return _INVALID
    if len(found["name"].removeprefix(f"{domain}/")) > _MAX_NAME:
        return f"repository name must not be more than {_MAX_NAME} characters"
    if found["algorithm"] is None:
        return ""
    digits = _HEX_DIGITS.get(found["algorithm"])
    if digits is None:
        return "unsupported digest algorithm"
    if len(found["hex"]) != digits:
        return "invalid checksum digest length"
    return "" if found["hex"].lower() == found["hex"] else "invalid checksum digest format"


def _split(image: str) -> tuple[str, str]:
    """(domain, the rest) of a name as people write it (splitDockerDomain)."""
    first, slash, rest = image.partition("/")
    plain = first != "localhost" and not re.search("[.:]", first) and first.lower() == first
    if not slash or plain:
        domain, rest = "docker.io", image
    else:
        domain = "docker.io" if first == "index.docker.io" else first
    return domain, rest if domain != "docker.io" or "/" in rest else f"library/{rest}"
