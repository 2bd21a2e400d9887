"""Files for their owner only."""

import os
import tempfile
from pathlib import Path

import pytest

from podwire.runtime.files import private_file, write_private


def mode(path):
    """The permission bits of a file."""
    return path.stat().st_mode & 0o777


def test_a_private_file_is_private_whatever_the_umask(tmp_path):
    """0600, also when a public file stood there before."""
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o600


def test_a_link_is_followed(tmp_path):
    """People link their kubeconfig into other folders."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_private(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_failed_write_leaves_nothing(tmp_path):
    """Neither half a file nor a temporary one."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_private(tmp_path / "folder", b"data")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory as a file is Linux'")
def test_a_private_file_for_a_library_needs_no_disk(monkeypatch):
    """In a container nothing is writable; and a key in memory is on no disk afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with private_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
    assert not Path(path).exists()
