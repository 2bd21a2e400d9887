"""docs/trace.md keeps up with the code."""

import re
from pathlib import Path

from podwire.dataplane.cost import Cost
from podwire.dataplane.verdict import Fate, Hop, Step
from podwire.explain.report import BranchReport, Cause, LookupReport, Nearest, Report

PAGE = (Path(__file__).parents[3] / "docs/trace.md").read_text()


def test_every_fate_has_its_line_in_order():
    """One row a fate, as the enum lists them."""
    assert re.findall(r"^\| ([A-Z_0-9]+) \|", PAGE, re.MULTILINE) == [f.value for f in Fate]


def test_every_key_of_the_json_is_documented():
    """By the name that msgspec writes."""
    for record in (Report, BranchReport, Cause, Cost, LookupReport, Nearest, Hop, Step):
        for key in record.__struct_encode_fields__:
            assert f"`{key}`" in PAGE or f"`{key}[]`" in PAGE, f"{record.__name__}.{key}"
