"""Keys that other users of the machine could read are told."""

import pytest

from podwire.cli import modes


@pytest.mark.parametrize(("mode", "told"), [(0o600, ""), (0o640, "0640"), (0o644, "0644")])
def test_a_file_that_others_may_read_is_told_with_its_remedy(tmp_path, mode, told):
    """By its mode, and what to run."""
    file = tmp_path / "config"
    file.write_text("")
    file.chmod(mode)
    assert modes.open_to_others(file) == told
    lines = list(modes.warnings(None, (file, None, tmp_path / "absent")))
    assert len(lines) == bool(told)
    assert all(f"chmod 0600 {file}" in line for line in lines)


def test_every_key_of_a_data_directory_is_looked_at(tmp_path):
    """The directory itself, and the keys in it."""
    (tmp_path / "pki").mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    for name in ("token", "pki/ca.key", "pki/sa.key"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    told = "\n".join(modes.warnings(tmp_path, ()))
    assert told.count("warning: ") == 4
    assert f"chmod 0700 {tmp_path}" in told
    assert "sa.key" in told
