"""Our tools print what the real ones print: the same words and columns, values aside."""

from __future__ import annotations

import difflib

import pytest

from tests.goldens.differences import DIFFERENCES
from tests.goldens.model import shape, typed
from tests.goldens.sessions import families, sessions


@pytest.mark.parametrize("family", families())
def test_tools_print_what_the_real_ones_do(family: str) -> None:
    """Differences that are meant are listed with their reasons, and must be differences."""
    captured = sessions(family)
    meant = DIFFERENCES.get(family, {})
    wrong, different = [], set()
    for real, (code, text) in zip(captured, typed([s.line for s in captured]), strict=True):
        if (code, shape(text)) == (real.code, shape(real.output)):
            continue
        different.add(real.line.text)
        if real.line.text not in meant:
            differ = difflib.unified_diff(shape(real.output), shape(text), "real", "ours", n=0)
            told = "\n".join(line for line in differ if not line.startswith("@@"))
            wrong.append(f"{real.line}: real {real.code}, ours {code}\n{told}")
    assert not wrong, "\n".join(wrong)
    stale = set(meant) - different
    assert not stale, f"no difference any more: {sorted(stale)}"


def test_every_difference_is_of_a_line_that_was_captured() -> None:
    for family, meant in DIFFERENCES.items():
        assert set(meant) <= {session.line.text for session in sessions(family)}
