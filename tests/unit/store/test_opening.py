"""``open_store``: each engine costs only what it is made of."""

from __future__ import annotations

import subprocess
import sys

import pytest

from podwire.store import StoreOptions

SCRIPT = """
import asyncio, sys
from pathlib import Path
from podwire.runtime.env import real
from podwire.store import StoreOptions, open_store

async def main():
    env = real(log_level="off")
    options = StoreOptions({options})
    await (await open_store(options, env.clock, env.trace, env.log)).close()

asyncio.run(main())
heavy = {{"aetcd", "grpc", "google.protobuf", "podwire.store.etcd", "podwire.store.durable"}}
print(*sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("options", "loaded"), [("", ""), ("data_dir=Path({folder!r})", "podwire.store.durable")]
)
def test_only_the_chosen_engine_is_imported(tmp_path, options, loaded):
    """gRPC weighs 0.1 s and 20 MB: who keeps nothing in an etcd does not need it installed."""
    script = SCRIPT.format(options=options.format(folder=str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == loaded


def test_options_say_whether_anything_is_kept(tmp_path):
    """In memory, nothing is."""
    assert not StoreOptions().keeps
    assert StoreOptions(data_dir=tmp_path).keeps
    assert StoreOptions(etcd_servers=("http://x:1",)).keeps
