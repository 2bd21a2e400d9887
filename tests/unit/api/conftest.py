"""Upstream's own objects, each with every field set, in JSON and in protobuf form."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

TESTDATA = Path(__file__).parent / "testdata" / "upstream.json.gz"


@pytest.fixture(scope="session")
def upstream() -> dict[str, tuple[dict[str, Any], bytes]]:
    triples = json.loads(gzip.decompress(TESTDATA.read_bytes()))
    return {name: (t["json"], base64.b64decode(t["pb"])) for name, t in triples.items()}
