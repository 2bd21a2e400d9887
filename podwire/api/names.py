"""Name syntax: DNS labels and subdomains, label keys and values, port names, generateName.

Every check returns the list of complaints (empty when the text is fine), worded as upstream does.
Source: apimachinery pkg/util/validation and pkg/api/validate/content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_HEADER = "[-A-Za-z0-9]+"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"

_label_re = re.compile(_LABEL)
_subdomain_re = re.compile(_SUBDOMAIN)
_label_1035_re = re.compile(_LABEL_1035)
_qualified_re = re.compile(_QUALIFIED)
_label_value_re = re.compile(_LABEL_VALUE)
_config_key_re = re.compile(_CONFIG_KEY)
_percent_re = re.compile(_PERCENT)
_http_header_re = re.compile(_HTTP_HEADER)
_wildcard_re = re.compile(_WILDCARD)
_port_charset_re = re.compile("[-a-z0-9]+")
_env_var_re = re.compile("[ -<>-~]+")

_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_LABEL_1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character"
)
_QUALIFIED_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
_LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character"
)
_WILDCARD_MESSAGE = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character"
)

MAX_NAME_LENGTH = 63


def _remembering(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The same texts are checked at each write of each object: remember short ones. Callers do
    not change the list.
    """
    remembered = lru_cache(maxsize=8192)(check)

    @wraps(check)
    def checked(text: str) -> list[str]:
        return remembered(text) if len(text) <= MAX_NAME_LENGTH else check(text)

    return checked


def max_length(n: int, unit: str = "characters") -> str:
    """The complaint about a text longer than ``n``."""
    return f"must be no more than {n} {unit}"


def regex_complaint(message: str, pattern: str, *examples: str) -> str:
    """``message`` with examples and the pattern, in upstream's (oddly punctuated) form."""
    shown = " or ".join(f"'{example}', " for example in examples)
    start = f"(e.g. {shown}" if examples else "("
    return f"{message} {start}regex used for validation is '{pattern}')"


@_remembering
def dns1123_label(text: str) -> list[str]:
    """Complaints about a DNS-1123 label (namespace names, port-like names, containers)."""
    found = [max_length(63)] if len(text) > 63 else []
    if not _label_re.fullmatch(text):
        if _subdomain_re.fullmatch(text):
            found.append("must not contain dots")
        else:
            found.append(regex_complaint(_LABEL_MESSAGE, _LABEL, "my-name", "123-abc"))
    return found


def dns1123_subdomain(text: str, unit: str = "characters") -> list[str]:
    """Complaints about a DNS-1123 subdomain (most object names)."""
    found = [max_length(253, unit)] if len(text) > 253 else []
    if not _subdomain_re.fullmatch(text):
        found.append(regex_complaint(_SUBDOMAIN_MESSAGE, _SUBDOMAIN, "example.com"))
    return found


def dns1035_label(text: str) -> list[str]:
    """Complaints about a DNS-1035 label (starts with a letter)."""
    found = [max_length(63)] if len(text) > 63 else []
    if not _label_1035_re.fullmatch(text):
        found.append(regex_complaint(_LABEL_1035_MESSAGE, _LABEL_1035, "my-name", "abc-123"))
    return found


def wildcard_subdomain(text: str) -> list[str]:
    """Complaints about ``*.example.com`` (Ingress hosts)."""
    found = [max_length(253)] if len(text) > 253 else []
    if not _wildcard_re.fullmatch(text):
        found.append(regex_complaint(_WILDCARD_MESSAGE, _WILDCARD, "*.example.com"))
    return found


def path_segment(text: str) -> list[str]:
    """Complaints about a name that becomes one URL path segment (RBAC names)."""
    if text in {".", ".."}:
        return [f"may not be '{text}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in text]


@_remembering
def label_key(text: str) -> list[str]:
    """Complaints about a qualified name: label and annotation keys, taint keys, finalizers."""
    complaint = regex_complaint(_QUALIFIED_MESSAGE, _QUALIFIED, "MyName", "my.name", "123-abc")
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {complaint}{tail}"]
    found: list[str] = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {m}" for m in dns1123_subdomain(prefix, "bytes")]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append(f"name part {max_length(63, 'bytes')}")
    if not _qualified_re.fullmatch(name):
        found.append(f"name part {complaint}")
    return found


@_remembering
def label_value(text: str) -> list[str]:
    """Complaints about a label value."""
    found = [max_length(63, "bytes")] if len(text.encode(errors="replace")) > 63 else []
    if not _label_value_re.fullmatch(text):
        found.append(
            regex_complaint(_LABEL_VALUE_MESSAGE, _LABEL_VALUE, "MyValue", "my_value", "12345")
        )
    return found


@_remembering
def port_name(text: str) -> list[str]:
    """Complaints about an IANA_SVC_NAME (container port names, named target ports)."""
    found = [max_length(15)] if len(text) > 15 else []
    if not _port_charset_re.fullmatch(text):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        found.append("must contain at least one letter (a-z)")
    if "--" in text:
        found.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port_number(number: int) -> list[str]:
    """Complaints about a port number."""
    return in_range(number, 1, 65535)


def in_range(number: int, low: int, high: int) -> list[str]:
    """Complaints about a number outside ``low..high``."""
    return [] if low <= number <= high else [f"must be between {low} and {high}, inclusive"]


def percent(text: str) -> list[str]:
    """Complaints about a percentage such as ``25%``."""
    if _percent_re.fullmatch(text):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_complaint(message, _PERCENT, "1%", "93%")]


@_remembering
def env_var_name(text: str) -> list[str]:
    """Complaints about an environment variable name (relaxed rule, on since 1.34)."""
    if _env_var_re.fullmatch(text):
        return []
    found = [] if text else ["environment variable name must be non-empty"]
    if any(not " " <= char <= "~" or char == "=" for char in text):
        found.append(
            "a valid environment variable name must consist only of printable ASCII characters "
            "other than '='"
        )
    return found


def are_env_var_names(texts: Sequence[str]) -> bool:
    """Whether nobody complains about any of them, decided of all at once: pods have dozens."""
    joined = "".join(texts)
    plain = joined.isascii() and joined.isprintable() and "=" not in joined
    return plain and "" not in texts


def config_key(text: str) -> list[str]:
    """Complaints about a key of a ConfigMap or Secret."""
    found = [max_length(253)] if len(text) > 253 else []
    if not _config_key_re.fullmatch(text):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        found.append(regex_complaint(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if text in {".", ".."}:
        found.append(f"must not be '{text}'")
    elif text.startswith(".."):
        found.append("must not start with '..'")
    return found


def http_header_name(text: str) -> list[str]:
    """Complaints about an HTTP header name of a probe."""
    if _http_header_re.fullmatch(text):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_complaint(message, _HTTP_HEADER, "X-Header-Name")]


def generated_name(base: str, suffix: str) -> str:
    """``base`` cut so that with ``suffix`` (5 characters, from ctx.ids) it has 63 at most.

    Source: apiserver pkg/storage/names.
    """
    return base[: MAX_NAME_LENGTH - len(suffix)] + suffix
