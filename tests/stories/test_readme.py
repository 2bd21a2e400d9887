"""The README's example is run as it stands there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.podwire(cni="calico")
def test_the_readmes_example_passes(cluster, monkeypatch):
    """A backend reachable from the frontend and from nobody else."""
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {}
    exec(BLOCK.group(1), space)  # noqa: S102  our own README
    (test,) = [value for name, value in space.items() if name.startswith("test_")]
    test(cluster)
