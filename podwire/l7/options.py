"""What an Ingress says in annotations, and which of it is modelled.

Source: ingress-nginx v1.15.1 internal/ingress/annotations; a value that does not parse counts as
absent, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

from podwire.api.views import Ingress

PREFIX = "nginx.ingress.kubernetes.io/"
MIB = 1024 * 1024
MODELLED = (
    "backend-protocol", "force-ssl-redirect", "preserve-trailing-slash", "proxy-body-size",
    "proxy-connect-timeout", "proxy-next-upstream-tries", "proxy-read-timeout", "rewrite-target",
    "ssl-redirect", "upstream-vhost", "use-regex",
)  # fmt: skip
"""Annotations that have their effect (backend-protocol as long as it is HTTP)."""


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a location; defaults are those of the controller's configuration."""

    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    preserve_trailing_slash: bool = False
    rewrite_target: str = ""
    use_regex: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    tries: int = 3
    """How many endpoints (proxy_next_upstream_tries); 0: no limit."""
    body_bytes: int = MIB
    """Largest request body; 0: no limit."""
    upstream_vhost: str = ""


DEFAULTS = Options()


def options(ingress: Ingress) -> Options:
    """The settings of an Ingress."""
    given = {
        name.removeprefix(PREFIX): value
        for name, value in ingress.metadata.annotations.items()
        if name.startswith(PREFIX)
    }
    if not given:
        return DEFAULTS
    return Options(
        ssl_redirect=_flag(given, "ssl-redirect", default=True),
        force_ssl_redirect=_flag(given, "force-ssl-redirect"),
        preserve_trailing_slash=_flag(given, "preserve-trailing-slash"),
        rewrite_target=given.get("rewrite-target", "").strip(),
        use_regex=_flag(given, "use-regex"),
        connect_timeout_s=float(_number(given, "proxy-connect-timeout", 5) or 5),
        read_timeout_s=float(_number(given, "proxy-read-timeout", 60) or 60),
        tries=_number(given, "proxy-next-upstream-tries", 3),
        body_bytes=_size(given.get("proxy-body-size", "")),
        upstream_vhost=given.get("upstream-vhost", "").strip(),
    )


def not_modelled(ingress: Ingress) -> list[str]:
    """The annotations of ingress-nginx that have no effect here, sorted."""
    found = []
    for name, value in sorted(ingress.metadata.annotations.items()):
        if not name.startswith(PREFIX):
            continue
        short = name.removeprefix(PREFIX)
        if short not in MODELLED:
            found.append(name)
        elif short == "backend-protocol" and value.strip().upper() not in {"", "HTTP"}:
            found.append(f"{name}: {value.strip()}")
    return found


_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def _flag(given: dict[str, str], name: str, *, default: bool = False) -> bool:
    """As Go's strconv.ParseBool."""
    value = given.get(name)
    if value in _TRUE:
        return True
    return False if value in _FALSE else default


def _number(given: dict[str, str], name: str, default: int) -> int:
    value = given.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else default


def _size(value: str) -> int:
    """Sizes as nginx writes them: ``8m``, ``512k``, ``1g``, bytes."""
    number, unit = value.strip(), 1
    for letter, factor in (("k", 1024), ("m", MIB), ("g", 1024 * MIB)):
        if number.lower().endswith(letter):
            number, unit = number[:-1], factor
            break
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return MIB
    return int(number) * unit
