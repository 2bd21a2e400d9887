"""Manifests: files, folders, Lists, and messages that name the file."""

import pytest

from podwire.sim.manifests import ManifestError, load, parse
from podwire.sim.settings import ClusterSettings


def test_folders_give_their_files_in_name_order(tmp_path):
    """As kubectl apply -f DIR."""
    (tmp_path / "b.yaml").write_text("kind: B")
    (tmp_path / "a.yml").write_text("kind: A\n---\nkind: A2")
    (tmp_path / "c.json").write_text('{"kind": "C"}')
    (tmp_path / "notes.txt").write_text("no")
    assert [o["kind"] for o in load([tmp_path])] == ["A", "A2", "B", "C"]


def test_lists_are_taken_apart():
    """kind: List carries items; empty documents are skipped."""
    assert parse("---\n---\nkind: List\nitems: [{kind: A}, {kind: B}]") == [
        {"kind": "A"},
        {"kind": "B"},
    ]


@pytest.mark.parametrize("text", ["- 1", "name: x", "{", "kind: [a"])
def test_what_is_no_object_is_named(tmp_path, text):
    """File and document appear in the message."""
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"odd\.yaml"):
        load([path])


def test_an_empty_folder_is_an_error(tmp_path):
    """Nothing to apply is a mistake worth telling."""
    with pytest.raises(ManifestError, match=r"no \.yaml"):
        load([tmp_path])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cni": "cilium"}, "cni: 'cilium' is not modelled; choose flannel or calico"),
        ({"proxy_mode": "userspace"}, "proxy-mode: 'userspace' is not modelled"),
        ({"time_profile": "warp"}, "time-profile"),
        ({"nodes": 1001}, "nodes: 1001"),
    ],
)
def test_settings_refuse_what_is_not_modelled(options, told):
    """Never a guess."""
    with pytest.raises(ValueError, match="^" + told.split("'")[0]) as error:
        ClusterSettings(**options)
    assert told in str(error.value)


def test_yaml_is_read_as_the_api_server_reads_it():
    """Keys are strings, dates stay text; what json could not carry never appears."""
    (body,) = parse("kind: A\nmetadata: {labels: {no: 2026-01-01, 1: yes}}")
    assert body["metadata"]["labels"] == {"false": "2026-01-01", "1": True}
