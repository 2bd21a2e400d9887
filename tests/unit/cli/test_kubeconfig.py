"""Kubeconfigs the way kind does it: lock, merge, write, never lose what was there."""

import stat
from pathlib import Path

import pytest
import yaml

from podwire.cli import kubeconfig


def document(name="one", server="https://127.0.0.1:1"):
    return kubeconfig.document(name, server, b"CA", b"CERT", b"KEY")


def test_a_new_file_is_made_for_its_owner_only(tmp_path):
    """Mode 0600, current-context set, parents made."""
    path = tmp_path / "deep/config"
    kubeconfig.merge(path, document())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["current-context"] == "podwire-one"


def test_merging_keeps_what_others_wrote(tmp_path):
    """Other contexts and unknown keys stay; our own entry is replaced, not doubled."""
    path = tmp_path / "config"
    other = {"name": "prod", "context": {"cluster": "prod", "user": "me"}}
    path.write_text(yaml.safe_dump({"contexts": [other], "extensions": [{"name": "x"}]}))
    kubeconfig.merge(path, document(server="https://127.0.0.1:1"))
    kubeconfig.merge(path, document(server="https://127.0.0.1:2"))
    merged = yaml.safe_load(path.read_text())
    assert [c["name"] for c in merged["contexts"]] == ["prod", "podwire-one"]
    assert merged["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:2"
    assert merged["extensions"] == [{"name": "x"}]


def test_removing_takes_only_ours_from_every_file(tmp_path):
    """Entries go from all files; a current-context that was ours is emptied."""
    first, second = tmp_path / "a", tmp_path / "b"
    kubeconfig.merge(first, document("one"))
    kubeconfig.merge(second, document("two"))
    changed = kubeconfig.remove([first, second, tmp_path / "absent"], "one")
    assert changed == [first]
    assert yaml.safe_load(first.read_text())["contexts"] == []
    assert yaml.safe_load(first.read_text())["current-context"] == ""
    assert yaml.safe_load(second.read_text())["current-context"] == "podwire-two"


def test_the_first_existing_file_of_kubeconfig_is_written(tmp_path):
    """As client-go: first that exists, else the last; --kubeconfig overrides."""
    a, b = tmp_path / "a", tmp_path / "b"
    environ = {"KUBECONFIG": f"{a}:{b}", "HOME": str(tmp_path)}
    assert kubeconfig.write_target(None, environ) == b
    a.write_text("")
    assert kubeconfig.write_target(None, environ) == a
    assert kubeconfig.write_target("/x", environ) == Path("/x")
    assert kubeconfig.write_target(None, {"HOME": "/h"}) == Path("/h/.kube/config")


def test_a_lock_held_by_another_is_an_error_that_says_what_to_do(tmp_path):
    """The lock file is client-go's; ours goes away afterwards."""
    path = tmp_path / "config"
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(kubeconfig.KubeconfigError, match=r"remove .*config\.lock"):
        kubeconfig.merge(path, document())
    lock.unlink()
    kubeconfig.merge(path, document())
    assert not lock.exists()


@pytest.mark.parametrize("junk", ["[1, 2]", "a: [", "just words"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path, junk):
    """The message names the file; its bytes stay."""
    path = tmp_path / "config"
    path.write_text(junk)
    with pytest.raises(kubeconfig.KubeconfigError, match="config"):
        kubeconfig.merge(path, document())
    assert path.read_text() == junk


def test_a_linked_file_stays_a_link(tmp_path):
    """People link their kubeconfig; the target is replaced, not the link."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("")
    link.symlink_to(real)
    kubeconfig.merge(link, document())
    assert link.is_symlink()
    assert "podwire-one" in real.read_text()
