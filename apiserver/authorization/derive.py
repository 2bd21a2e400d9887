"""Derives bootstrap.json: the roles and bindings that kube-apiserver makes. A developer's tool.

Run when the modelled Kubernetes version changes::

    python -m podwire.apiserver.authorization.derive TESTDATA

TESTDATA is kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata (default feature
gates). What every object has alike (label, annotation, apiVersion) is left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
FILES = (
    "cluster-roles", "controller-roles", "cluster-role-bindings", "controller-role-bindings",
    "namespace-roles", "namespace-role-bindings",
)  # fmt: skip
"""In the order in which they are made (rbac/rest, storage_rbac.go)."""
_ALIKE = "kubernetes.io/bootstrapping"


def row(obj: dict[str, Any]) -> dict[str, Any]:
    """One object, shortened."""
    meta = obj["metadata"]
    labels = {key: value for key, value in meta.get("labels", {}).items() if key != _ALIKE}
    short = {
        "kind": obj["kind"], "namespace": meta.get("namespace"), "name": meta["name"],
        "labels": labels, "aggregationRule": obj.get("aggregationRule"),
        "rules": obj.get("rules"), "roleRef": obj.get("roleRef"), "subjects": obj.get("subjects"),
    }  # fmt: skip
    return {key: value for key, value in short.items() if value}


def main(testdata: str) -> None:
    """Write bootstrap.json, one object a line."""
    rows = [
        json.dumps(row(item), separators=(",", ":"))
        for name in FILES
        for item in yaml.safe_load((Path(testdata) / f"{name}.yaml").read_text())["items"]
    ]
    (HERE / "bootstrap.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
