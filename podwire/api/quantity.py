"""Exact arithmetic and canonical text of resource quantities (``250m``, ``1.5Gi``, ``12e6``).

Source of the behaviour: apimachinery pkg/api/resource (parsing, rounding up to nano, which texts
are kept as written, and the canonical form of the others).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

WRONG_FORMAT = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
WRONG_NUMBER = "unable to parse numeric part of quantity"
WRONG_SUFFIX = "unable to parse quantity's suffix"

_TEXT = re.compile(r"([+-]?)0*([0-9]*)(?:(\.)([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_DECIMAL = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {power: name for name, power in _DECIMAL.items()}
_BINARY_NAMES = ("", *_BINARY)
_NANO = 10**9
_KEPT_DIGITS = 18
_MAX_TEXT = 128
_MAX_EXPONENT = 64
_MAX_BINARY_NANO = ((1 << 63) - 1) * _NANO


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


@dataclass(frozen=True, slots=True, order=True)
class Quantity:
    """A parsed quantity; compares and hashes by exact value."""

    nano: int
    """The value in units of 1e-9 (smaller parts were rounded up, away from zero)."""

    text: str
    """The text a real API server stores and prints."""

    @property
    def milli(self) -> int:
        """The value in thousandths, rounded up (away from zero): how CPUs are counted."""
        return _round_up(self.nano, 10**6)

    @property
    def value(self) -> int:
        """The value in whole units, rounded up (away from zero): bytes, pods."""
        return _round_up(self.nano, _NANO)


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """The quantity that ``text`` denotes. Raises QuantityError.

    Texts over 128 characters and exponents beyond 64 are refused (upstream stores them).
    """
    found = _TEXT.fullmatch(text)
    if not text or found is None:
        raise QuantityError(WRONG_FORMAT)
    sign, number, point, decimals, suffix = found.groups(default="")
    if len(text) > _MAX_TEXT or (not number and not decimals and "0" not in text):
        raise QuantityError(WRONG_NUMBER)
    if suffix in _DECIMAL:
        base, power, form = 10, _DECIMAL[suffix], "si"
    elif suffix in _BINARY:
        base, power, form = 2, _BINARY[suffix], "binary"
    else:
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is None or abs(int(exponent[1])) > _MAX_EXPONENT:
            raise QuantityError(WRONG_SUFFIX)
        base, power, form = 10, int(exponent[1]), "exponent"
    digits = int((number + decimals) or "0")
    nano = _scaled(digits, base, power, len(decimals))
    if form == "binary":
        nano = min(nano, _MAX_BINARY_NANO)
    if sign == "-":
        nano = -nano
    kept = _is_canonical(number or "0", decimals, form, power) and not (point and not decimals)
    return Quantity(nano, text if kept else _canonical(nano, form))


def milli(text: str) -> int:
    """``parse(text).milli``: thousandths, rounded up. Raises QuantityError."""
    return parse(text).milli


def value(text: str) -> int:
    """``parse(text).value``: whole units, rounded up. Raises QuantityError."""
    return parse(text).value


def canonical(text: str) -> str:
    """The text a real API server stores for ``text``: ``0.5`` -> ``500m``. Raises QuantityError."""
    return parse(text).text


def from_milli(amount: int) -> str:
    """The canonical decimal text of ``amount`` thousandths: 1500 -> ``1500m``, 2000 -> ``2``."""
    return _canonical(amount * 10**6, "si")


def from_value(amount: int, *, binary: bool = False) -> str:
    """The canonical text of whole units; ``binary`` prefers Ki, Mi, Gi."""
    return _canonical(amount * _NANO, "binary" if binary else "si")


def _round_up(amount: int, unit: int) -> int:
    return -(-amount // unit) if amount >= 0 else amount // unit


def _scaled(digits: int, base: int, power: int, decimals: int) -> int:
    """The digits times base**power / 10**decimals in nano units, rounded up."""
    if base == 2:
        return _round_up(digits * (1 << power) * _NANO, 10**decimals)
    shift = power + 9 - decimals
    return digits * 10**shift if shift >= 0 else _round_up(digits, 10**-shift)


def _is_canonical(number: str, decimals: str, form: str, power: int) -> bool:
    """Whether upstream's fast path keeps the text as it was written."""
    shifted = number + decimals
    if form == "binary":
        digits = len(number)
        fits = not decimals and 15 - digits - power * 3 // 10 - 1 >= 0
        return fits and int(number) & 7 != 0
    scale = power - len(decimals)
    return (
        len(shifted) <= _KEPT_DIGITS
        and scale >= -9
        and scale % 3 == 0
        and not shifted.endswith("000")
        and shifted[0] != "0"
    )


def _canonical(nano: int, form: str) -> str:
    if nano == 0:
        return "0"
    if form == "binary" and abs(nano) >= 1024 * _NANO and nano % _NANO == 0:
        amount, step = nano // _NANO, 0
        while amount % 1024 == 0 and step + 1 < len(_BINARY_NAMES):
            amount, step = amount // 1024, step + 1
        return f"{amount}{_BINARY_NAMES[step]}"
    power = -9
    while nano % 1000 == 0 and (form == "exponent" or power < 18):
        nano, power = nano // 1000, power + 3
    if form == "exponent":
        return f"{nano}e{power}" if power else str(nano)
    return f"{nano}{_DECIMAL_NAMES[power]}"
