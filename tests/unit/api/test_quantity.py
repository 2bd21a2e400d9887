"""Quantities: what a real API server understands and prints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import quantity


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0.5", "500m"), ("1000m", "1"), ("100m", "100m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"),
        ("128974848", "128974848"), ("129e6", "129e6"), ("129M", "129M"), ("123Mi", "123Mi"),
        ("0", "0"), ("0Mi", "0"), ("1.0", "1"), ("1e3", "1e3"), ("12e6", "12e6"), ("2000k", "2M"),
        ("-500m", "-500m"), ("0.1Gi", "107374182400m"), ("1n", "1n"), ("0.1n", "1n"),
        ("100Ki", "100Ki"),
        ("512Mi", "512Mi"), ("1023Ki", "1023Ki"), ("10E", "10E"), ("500000u", "500m"),
    ],
)  # fmt: skip
def test_quantities_are_stored_in_canonical_form(written: str, stored: str) -> None:
    """The table holds pairs taken from the documentation and from upstream's rules."""
    assert quantity.canonical(written) == stored


def test_fractions_round_up_because_some_is_better_than_none() -> None:
    """A request for a tenth of a milli-CPU counts as one milli-CPU."""
    assert quantity.milli("100u") == 1
    assert quantity.value("1500m") == 2
    assert quantity.value("1Ki") == 1024
    assert quantity.milli("2") == 2000


@pytest.mark.parametrize(
    "text", ["", "1.1.M", "1+1.0M", "aoeu", ".5i", "1i", "1 Gi", "0x1", "1e", "1mi"]
)
def test_other_texts_are_refused(text: str) -> None:
    """Refusals carry upstream's messages."""
    with pytest.raises(quantity.QuantityError, match=r"quantit(y|ies)"):
        quantity.parse(text)


@given(st.text(alphabet="0123456789.+-eEinumkKMGTP", max_size=24))
def test_any_text_is_a_quantity_or_a_quantity_error(text: str) -> None:
    """Canonical text denotes the same value and is stable."""
    try:
        parsed = quantity.parse(text)
    except quantity.QuantityError:
        return
    again = quantity.parse(parsed.text)
    assert again.nano == parsed.nano
    assert again.text == parsed.text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_amounts_print_and_parse_back(amount: int) -> None:
    """from_milli and from_value are inverses of milli and value."""
    assert quantity.milli(quantity.from_milli(amount)) == amount
    assert quantity.value(quantity.from_value(amount, binary=True)) == amount
