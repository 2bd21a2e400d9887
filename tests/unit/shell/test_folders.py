"""Folders are the same to cd, test and ls."""

import pytest

from podwire.kubelet.shell import folders

FILES = ["/etc/resolv.conf", "/data/deep/file"]


def below(path):
    """The container's files at or below a path."""
    return [f for f in FILES if f == path or f.startswith(path.rstrip("/") + "/")]


@pytest.mark.parametrize("path", ["/", "/etc", "/var", "/usr/", "/data", "/data/deep/"])
def test_a_folder_is_a_usual_one_or_one_with_a_file(path):
    """Empty folders that no image lacks count too."""
    assert folders.exists(path, below)


@pytest.mark.parametrize("path", ["/data/deep/file", "/none", "/etc/resolv.conf", "/et", "/dat"])
def test_a_file_is_no_folder_and_a_prefix_is_none(path):
    """cd into a file fails."""
    assert not folders.exists(path, below)
