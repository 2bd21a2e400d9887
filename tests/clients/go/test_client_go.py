"""client-go as operators use it: stories in Go, which tests/clients/install.py builds once."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients import installed

pytestmark = pytest.mark.xdist_group("client-go")

HERE = Path(__file__).parent
STORIES = [
    name
    for path in sorted(HERE.glob("*_test.go"))
    for name in re.findall(r"^func (Test\w+)\(", path.read_text(), re.MULTILINE)
]
LIMIT_S = 120


@pytest.mark.parametrize("story", STORIES)
def test_client_go_is_served(story, fresh):
    """The Go test of that name ran and passed."""
    done = subprocess.run(
        [installed.client_go(), f"-test.run=^{story}$", "-test.v", f"-test.timeout={LIMIT_S}s"],
        cwd=fresh.home, env=fresh.env, capture_output=True, text=True, timeout=LIMIT_S + 10,
        check=False,
    )  # fmt: skip
    assert f"--- PASS: {story} " in done.stdout, done.stdout + done.stderr
