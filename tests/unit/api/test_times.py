"""Timestamps by plain arithmetic."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import times

SECONDS = st.integers(min_value=-(2**35), max_value=2**37)


@given(SECONDS)
def test_dates_agree_with_the_calendar_of_python(seconds: int) -> None:
    """Every second of some four thousand years would do; hypothesis picks some."""
    expected = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
    assert times.format_time(seconds * times.NS) == expected
    assert times.parse_time(expected) == seconds * times.NS


@given(st.integers(min_value=0, max_value=2**62))
def test_micro_times_round_trip_to_the_microsecond(ns: int) -> None:
    """Exactly six decimals are written and demanded."""
    text = times.format_micro_time(ns)
    assert times.parse_micro_time(text) == ns - ns % 1000
    assert len(text) == len("2026-01-01T00:00:00.000000Z")


def test_offsets_and_fractions_are_understood() -> None:
    """As Go's RFC 3339 parser does."""
    assert times.parse_time("2026-01-01T02:00:00+02:00") == times.parse_time("2026-01-01T00:00:00Z")
    assert times.parse_time("1970-01-01T00:00:00.25Z") == 250_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'),
        ("2026-13-01T00:00:00Z", 'parsing time "2026-13-01T00:00:00Z": month out of range'),
        ("2026-02-29T00:00:00Z", 'parsing time "2026-02-29T00:00:00Z": day out of range'),
        ("2026-01-01T00:00:00Zx", 'parsing time "2026-01-01T00:00:00Zx": extra text: "x"'),
        (
            "2026-01-01",
            'parsing time "2026-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"',
        ),
    ],
)
def test_mistakes_are_told_as_go_tells_them(text: str, message: str) -> None:
    """kubectl users know these messages."""
    with pytest.raises(times.TimeError) as caught:
        times.parse_time(text)
    assert str(caught.value) == message


def test_a_micro_time_without_decimals_is_refused() -> None:
    """client-go refuses it too, which once killed a leader election."""
    with pytest.raises(times.TimeError, match=r'cannot parse "Z" as "\.000000"'):
        times.parse_micro_time("2026-01-01T00:00:00Z")
