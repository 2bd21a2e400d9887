"""The words of the CNI specification 1.1.0: verbs, versions, error codes, results.

Inside the room a result always has the 1.1.0 form; ``result_as`` writes it the way the caller's
``cniVersion`` spells it and ``result_from`` reads a ``prevResult`` of any supported version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podwire.api.view import JSON

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT = VERSIONS[-1]

# Which version of the specification brought a verb; the others have been there from the start.
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN = 11
NOT_AVAILABLE = 50
LIMITED = 51
INTERNAL = 999

_ID = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$")
_NAME = _ID
_MAX_IFNAME = 15


class CniError(Exception):
    """A plugin's failure, as the JSON error document of the specification tells it."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(f"{msg}; {details}" if details else msg)
        self.code = code
        self.msg = msg
        self.details = details

    def document(self, version: str = CURRENT) -> JSON:
        """``{"cniVersion", "code", "msg"[, "details"]}``."""
        body: JSON = {"cniVersion": version, "code": self.code, "msg": self.msg}
        if self.details:
            body["details"] = self.details
        return body


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare. Raises CniError for what is no version."""
    parts = version.split(".")
    if not all(part.isdigit() for part in parts):
        raise CniError(DECODING_FAILURE, f'invalid version "{version}"')
    return tuple(int(part) for part in parts)


def check_version(version: str, verb: str) -> None:
    """Refuse versions that the plugins do not speak, and verbs that a version does not know."""
    if version not in VERSIONS:
        supported = " ".join(VERSIONS)
        raise CniError(
            INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports [{supported}]',
        )
    since = SINCE.get(verb)
    if since is not None and number(version) < number(since):
        raise CniError(INCOMPATIBLE_VERSION, f"config version does not allow {verb}")


def check_container_id(container_id: str) -> None:
    """Raises CniError unless the id is one the specification allows."""
    if not _ID.match(container_id):
        raise CniError(
            INVALID_ENVIRONMENT, "invalid characters in containerID", f"containerID: {container_id}"
        )


def check_network_name(name: str) -> None:
    """Raises CniError unless ``name`` may name a network."""
    if not name:
        raise CniError(INVALID_CONFIG, "missing network name:")
    if not _NAME.match(name):
        raise CniError(
            INVALID_CONFIG, "invalid characters found in network name", f"network name: {name}"
        )


def check_ifname(ifname: str) -> None:
    """Raises CniError unless ``ifname`` may name a Linux interface."""
    reason = ""
    if not ifname:
        reason = "interface name is empty"
    elif len(ifname) > _MAX_IFNAME:
        reason = f"interface name is too long: interface name should be less than {_MAX_IFNAME + 1}"
    elif ifname in {".", ".."}:
        reason = "interface name is . or .."
    elif any(c in "/:" or c.isspace() for c in ifname):
        reason = "interface name contains / or : or whitespace characters"
    if reason:
        raise CniError(INVALID_ENVIRONMENT, reason)


def result_as(version: str, result: JSON) -> JSON:
    """A 1.1.0 result in the spelling of ``version`` (before 1.0.0 each ip names its family)."""
    out: JSON = {"cniVersion": version, **{k: v for k, v in result.items() if k != "cniVersion"}}
    if number(version) < (1, 0, 0) and "ips" in out:
        out["ips"] = [{"version": "4" if "." in ip["address"] else "6", **ip} for ip in out["ips"]]
    if number(version) < (1, 1, 0):
        out["interfaces"] = [
            _without(i, "mtu", "socketPath", "pciID") for i in out.get("interfaces", [])
        ]
        out["routes"] = [_without(r, "mtu", "advmss", "priority") for r in out.get("routes", [])]
    return {key: value for key, value in out.items() if value != []}


def result_from(document: JSON) -> JSON:
    """A result of any supported version in 1.1.0 form."""
    ips = [_without(ip, "version") for ip in document.get("ips") or []]
    return {**document, "cniVersion": CURRENT, "interfaces": document.get("interfaces") or [],
            "ips": ips, "routes": document.get("routes") or []}  # fmt: skip


def version_document(version: str) -> JSON:
    """The answer to VERSION."""
    return {"cniVersion": version or CURRENT, "supportedVersions": list(VERSIONS)}


def _without(mapping: Mapping[str, Any], *keys: str) -> JSON:
    return {key: value for key, value in mapping.items() if key not in keys}
