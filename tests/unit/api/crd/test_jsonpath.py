"""JSONPath as printer columns use it."""

from __future__ import annotations

import pytest

from podwire.api.crd.jsonpath import Path, PathError, printed

OBJ = {
    "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
    "spec": {"hosts": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "n": 1.5, "on": True},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "Synced", "status": "False"},
        ]
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.n", [1.5]),
        (".spec.absent.more", []),
        (".spec.hosts[0].name", ["a"]),
        (".spec.hosts[-1].name", ["b"]),
        (".spec.hosts[*].port", [1, 2]),
        (".spec.hosts[0:1].name", ["a"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Synced')].status", ["False"]),
        (".spec.hosts[?(@.port>1)].name", ["b"]),
        (".spec.hosts[?(@.name)].port", [1, 2]),
        (r".metadata.labels.app\.kubernetes\.io/name", ["web"]),
        (".metadata.labels['app.kubernetes.io/name']", ["web"]),
        ("..type", ["Ready", "Synced"]),
    ],
)
def test_paths_lead_where_upstream_says(path, found):
    assert Path(path).find(OBJ) == found


@pytest.mark.parametrize("path", [".spec[", ".a[?(@.b", ".a[x]", "..", ".a[0:1:0]", ".{"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(PathError):
        Path(path)


def test_values_are_printed_as_go_prints_them():
    shown = [printed(v) for v in ("a", 3, 1.5, 1e21, True, {"b": 1, "a": [2]})]
    assert shown == ["a", "3", "1.5", "1e+21", "true", '{"a":[2],"b":1}']
