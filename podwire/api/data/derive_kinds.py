"""Derives kinds.json, the table of what a default API server serves. A developer's tool.

Run when the modelled Kubernetes version changes::

    python -m podwire.api.data.derive_kinds SWAGGER RESOURCES

SWAGGER    the (gzipped) OpenAPI v2 document of an API server with every API switched on
RESOURCES  ``kmock/_internal/resources.json.gz`` of the PyPI package kmock: discovery documents

Paths, verbs and response kinds come from the swagger, short names and categories from the
discovery documents; where both tell of a resource they must agree. What the sources (one minor
release older) cannot tell yet stands in this file, read in kubernetes/kubernetes api/discovery.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

GROUP_VERSIONS = (
    "v1", "apiregistration.k8s.io/v1", "apps/v1", "events.k8s.io/v1", "authentication.k8s.io/v1",
    "authorization.k8s.io/v1", "autoscaling/v2", "autoscaling/v1", "batch/v1",
    "certificates.k8s.io/v1", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1", "admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1",
    "scheduling.k8s.io/v1", "coordination.k8s.io/v1", "node.k8s.io/v1", "discovery.k8s.io/v1",
    "resource.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1", "storagemigration.k8s.io/v1",
)  # fmt: skip
"""Served by default, by group priority. Source: api/discovery/apis.json; beta is off since 1.24."""

GRADUATED = (
    ("storagemigration.k8s.io/v1", "storagemigration.k8s.io/v1beta1", "storageversionmigrations"),
    ("certificates.k8s.io/v1", "certificates.k8s.io/v1beta1", "clustertrustbundles"),
    ("certificates.k8s.io/v1", "certificates.k8s.io/v1beta1", "podcertificaterequests"),
    ("resource.k8s.io/v1", "resource.k8s.io/v1beta2", "devicetaintrules"),
)
"""Resources whose v1 is new in 1.37: (v1, the version that the swagger has, plural).

The beta is also the version that a 1.37 server stores, which storageVersionHash tells.
"""

SHORT_NAMES = {"volumeattributesclasses": ["vac"]}
CATEGORIES = {
    "mutatingadmissionpolicies": ["api-extensions"],
    "mutatingadmissionpolicybindings": ["api-extensions"],
}
"""What the discovery documents lack. Source: api/discovery in kubernetes/kubernetes."""

STORED_AS = {"autoscaling/v1/HorizontalPodAutoscaler": "autoscaling/v2/HorizontalPodAutoscaler",
             "events.k8s.io/v1/Event": "/v1/Event"}  # fmt: skip
"""Kinds that are another version of a kind stored elsewhere (group/version/kind)."""

_METHODS = {"post": "create", "put": "update"}
_CONNECT = {"get": "get", "post": "create", "put": "update", "delete": "delete", "patch": "patch"}

Found = dict[str, dict[str, Any]]
"""By resource (``pods`` or ``pods/status``): kind, namespaced, verbs, whether DELETE answers with
the object.
"""


def group_version(gvk: dict[str, str]) -> str:
    """``apps/v1`` of an x-kubernetes-group-version-kind."""
    return f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]


def split(path: str) -> tuple[str, str, bool]:
    """A path's group version, resource (with subresource) and whether it is namespaced."""
    parts = path.strip("/").split("/")
    start = 2 if parts[0] == "api" else 3
    rest = parts[start:]
    namespaced = rest[:2] == ["namespaces", "{namespace}"] and len(rest) > 2
    if namespaced:
        rest = rest[2:]
    resource = "/".join(part for part in rest if part[:1] != "{")
    return "/".join(parts[1:start]), resource, namespaced


def resources(swagger: dict[str, Any]) -> dict[str, Found]:
    """Every group version's resources, as the swagger's operations tell them."""
    found: dict[str, Found] = {}
    for path, operations in swagger["paths"].items():
        if "/watch/" in path or not path.startswith(("/api/", "/apis/")):
            continue
        version, resource, namespaced = split(path)
        for method, operation in operations.items():
            action = operation.get("x-kubernetes-action") if method != "parameters" else None
            if action is None or not resource or resource.endswith("{path}"):
                continue
            if action == "connect" and method not in _CONNECT:
                continue
            verb = _CONNECT[method] if action == "connect" else _METHODS.get(action, action)
            gvk = operation["x-kubernetes-group-version-kind"]
            entry = found.setdefault(version, {}).setdefault(
                resource, {"gvk": gvk, "namespaced": False, "verbs": {}, "returned": False}
            )
            entry["namespaced"] |= namespaced
            entry["verbs"][verb] = None
            if action == "delete":
                entry["returned"] = not operation["responses"]["200"]["schema"]["$ref"].endswith(
                    ".Status"
                )
    for path in swagger["paths"]:
        if "/watch/" in path:
            version, resource, _ = split(path.replace("/watch/", "/", 1))
            if resource in found.get(version, {}):
                found[version][resource]["verbs"]["watch"] = None
    return found


def table(swagger: dict[str, Any], documents: list[dict[str, Any]]) -> list[list[Any]]:
    """The rows of kinds.json in discovery's order."""
    known = {d["groupVersion"]: {r["name"]: r for r in d["resources"]} for d in documents}
    served = resources(swagger)
    for version, older, plural in GRADUATED:
        target = served.setdefault(version, {})
        for resource, entry in served[older].items():
            if resource.partition("/")[0] == plural:
                new = {**entry["gvk"], "version": version.rpartition("/")[2]}
                target.setdefault(resource, {**entry, "gvk": new})
    rows = []
    for version in GROUP_VERSIONS:
        found = served[version]
        documented = known.get(version, {})
        plurals = sorted(name for name in found if "/" not in name)
        rows += [row(version, plural, found, documented) for plural in plurals]
    return rows


def row(version: str, plural: str, found: Found, documented: dict[str, Any]) -> list[Any]:
    """One kind; trailing empty columns are cut."""
    entry, told = found[plural], documented.get(plural)
    kind = entry["gvk"]["kind"]
    verbs = sorted(entry["verbs"])
    if told is not None:
        expected = (told["kind"], told["namespaced"], sorted(told["verbs"]), told["singularName"])
        if expected != (kind, entry["namespaced"], verbs, kind.lower()):
            sys.exit(f"{version} {plural}: the sources disagree: {expected}, {entry}")
    subresources = [
        subresource(version, name, found[name]) for name in sorted(found)
        if name.startswith(f"{plural}/")
    ]  # fmt: skip
    listed = {f"{plural}/{s[0]}" for s in subresources}
    missing = {name for name in documented if name.startswith(f"{plural}/")} - listed
    if missing:
        sys.exit(f"{version}: the swagger lacks {sorted(missing)}")
    group = entry["gvk"]["group"]
    identity = f"{group}/{entry['gvk']['version']}/{kind}"
    hashed = next((f"{old}/{kind}" for v, old, p in GRADUATED if (v, p) == (version, plural)), "")
    cells = [
        group, entry["gvk"]["version"], kind, plural, entry["namespaced"],
        (told or {}).get("shortNames") or SHORT_NAMES.get(plural, []),
        (told or {}).get("categories") or CATEGORIES.get(plural, []),
        verbs if len(verbs) < 8 else [], subresources, STORED_AS.get(identity, ""), hashed,
        entry["returned"],
    ]  # fmt: skip
    while not cells[-1]:
        cells.pop()
    return cells


def subresource(version: str, name: str, entry: dict[str, Any]) -> list[Any]:
    """Name, kind, verbs, and the group version when it is not the parent's."""
    cells = [name.partition("/")[2], entry["gvk"]["kind"], sorted(entry["verbs"])]
    own = group_version(entry["gvk"])
    return cells if own == version else [*cells, own]


def main() -> None:
    """Reads the two sources and rewrites kinds.json beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("swagger", "resources"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    rows = table(
        json.loads(gzip.decompress(given.swagger.read_bytes())),
        json.loads(gzip.decompress(given.resources.read_bytes())),
    )
    lines = ",\n".join(json.dumps(cells, separators=(",", ":")) for cells in rows)
    (HERE / "kinds.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(rows)} kinds")  # noqa: T201 - a tool


if __name__ == "__main__":
    main()
