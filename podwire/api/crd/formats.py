"""Formats of strings that schemas may name. Of unknown ones nothing is checked.

Source: apiextensions-apiserver pkg/apiserver/validation/formats.go (which count), kube-openapi
pkg/validation/strfmt and govalidator (what they mean).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any

from podwire.api import regex
from podwire.api.validation.address import parse_cidr, parse_sloppy_ip

Check = Callable[[str], bool]

_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST = (
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|"
    r"([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}"
    r"([a-zA-Z\p{L}]){2,63})$"
)
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))")
_UNITS = ("ns", "us", "µs", "μs", "ms", "s", "m", "h")
_GO_DURATION = re.compile(rf"[-+]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_UNITS)}))+)")
_LOOSE_DURATION = re.compile(r"(\d+)\s*([A-Za-zµ]+)")
_WORDS = (
    ("ns", "nano"), ("us", "µs", "micro"), ("ms", "milli"), ("s", "sec"), ("m", "min"),
    ("h", "hr", "hour"), ("d", "day"), ("w", "wk", "week"),
)  # fmt: skip


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """A regular expression of RE2, which upstream's are. Raises re2.error."""
    import re2  # noqa: PLC0415  (10 ms that nobody pays who has no patterns)

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def pattern_error(pattern: str) -> str:
    """What is wrong with a pattern, in Go's words; '' when nothing is."""
    import re2  # noqa: PLC0415

    if regex.too_deep(pattern):
        return f"error parsing regexp: expression nests too deeply: `{pattern}`"
    try:
        compiled(pattern)
    except re2.error as error:
        told = error.args[0]
        why = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        what, _, where = why.partition(": ")
        what = _IN_GO.get(what, what)
        return f"error parsing regexp: {what}" + (f": `{where}`" if where else "")
    return ""


_IN_GO = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}
"""Where the two libraries word an error differently. Source: Go's regexp/syntax (ErrorCode)."""


def _matching(pattern: str, flags: int = 0) -> Check:
    found = re.compile(pattern, flags)
    return lambda text: found.fullmatch(text) is not None


def _host(text: str) -> bool:
    if len(text.encode()) > 255 or not compiled(_HOST).search(text):
        return False
    return all(len(part.encode()) <= 63 for part in text.split("."))


def _ip(separator: str) -> Check:
    return lambda text: separator in text and parse_sloppy_ip(text) is not None


def _cidr(text: str) -> bool:
    return parse_cidr(text) is not None


def _date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return text.startswith("0000-") and _date("0004" + text[4:])
    return True


def _date_time(text: str) -> bool:
    day, t, clock = text.lower().partition("t")
    if not t or not _date(day):
        return False
    found = _CLOCK.fullmatch(clock)
    return found is not None and found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def _duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    for _, unit in _LOOSE_DURATION.findall(text):
        for words in _WORDS:
            if unit.lower() in words or unit.lower().startswith(words[-1]):
                return True
    return False


def _uri(text: str) -> bool:
    """As net/url.ParseRequestURI: absolute, or an absolute path."""
    if not text or any(ord(char) < 0x20 or char == "\x7f" for char in text):
        return False
    if text.startswith("/"):
        return True
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return False
    if not rest.startswith("//"):
        return not rest.startswith("/") or " " not in rest
    authority = re.split(r"[/?#]", rest[2:], maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    return " " not in authority and re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?", host) is not None


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOTTED = rf"{_ATOM}(\.{_ATOM})*"
_ADDRESS = rf'({_DOTTED}|"([^"\\\r\n]|\\.)*")@({_DOTTED}|\[[^\]\s]*\])'
_MAILBOX = re.compile(rf'\s*({_ADDRESS}|("[^"]*"|[^<>@",]*)<{_ADDRESS}>)\s*')


def _email(text: str) -> bool:
    """As net/mail.ParseAddress: an address, with a name before it or without."""
    return _MAILBOX.fullmatch(text) is not None


def _mac(text: str) -> bool:
    for pattern in (r"[0-9a-fA-F]{2}([:-])", r"[0-9a-fA-F]{4}(\.)"):
        if (found := re.match(pattern, text)) is not None:
            parts = text.split(found[1])
            size = len(found[0]) - 1
            count = len(parts) * size // 2
            fit = all(re.fullmatch(rf"[0-9a-fA-F]{{{size}}}", part) for part in parts)
            return fit and count in {6, 8, 20}
    return False


def _base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one; so are characters that are no ASCII
        return False
    return bool(text)


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    values = [10 if char == "X" else int(char) for char in digits]
    return sum((i + 1) * value for i, value in enumerate(values)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    return sum(int(char) * (3 if i % 2 else 1) for i, char in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not re.fullmatch(
        r"4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
        r"|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35\d{3})\d{11}",
        digits,
    ):
        return False
    total = 0
    for i, char in enumerate(reversed(digits)):
        value = int(char) * (2 if i % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _rgb(text: str) -> bool:
    part = "(0|[1-9]\\d?|1\\d\\d?|2[0-4]\\d|25[0-5])"
    return re.fullmatch(rf"rgb\(\s*{part}\s*,\s*{part}\s*,\s*{part}\s*\)", text) is not None


def _uuid(version: str, variant: str) -> Check:
    h = "[0-9a-f]"
    third = f"{version}{h}{{3}}" if version else f"{h}{{4}}"
    fourth = f"{variant}{h}{{3}}" if variant else f"{h}{{4}}"
    return _matching(f"{h}{{8}}-?{h}{{4}}-?{third}-?{fourth}-?{h}{{12}}", re.IGNORECASE)


def _up_to(length: int, pattern: str) -> Check:
    check = _matching(pattern)
    return lambda text: len(text) <= length and check(text)


CHECKS: dict[str, Check] = {
    "bsonobjectid": _matching("[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": _email,
    "hostname": _host,
    "ipv4": _ip("."),
    "ipv6": _ip(":"),
    "cidr": _cidr,
    "mac": _mac,
    "uuid": _uuid("", ""),
    "uuid3": _uuid("3", ""),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matching(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matching("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _rgb,
    "byte": _base64,
    "password": lambda _text: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": _up_to(63, _NAME),
    "k8slongname": _up_to(253, rf"{_NAME}(\.{_NAME})*"),
}
"""By normalised name."""


def counts(format: str, type: str) -> bool:
    """Whether a format of a type means anything."""
    if type in {"", "string"}:
        return format.replace("-", "") in CHECKS
    return format in {"integer": ("int32", "int64"), "number": ("float", "double")}.get(type, ())


def check_of(format: str) -> Check | None:
    """The check of a string format, None when it has none."""
    return CHECKS.get(format.replace("-", ""))
