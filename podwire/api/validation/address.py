"""Syntax of IP addresses and CIDRs in fields.

Source: apimachinery pkg/util/validation/ip.go (legacy rules: host bits are tolerated) and
kubernetes pkg/apis/core/validation ValidateNonSpecialIP.
"""

from __future__ import annotations

import ipaddress

from podwire.api.validation.field import Errors

_BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(text: str) -> Address | None:
    """The address, or None."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_cidr(text: str) -> Network | None:
    """The network (host bits ignored), or None."""
    if not text.partition("/")[2].isdigit():
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def check_ip(errors: Errors, path: str, text: str, version: int = 0) -> Address | None:
    """An address, of a family if ``version`` is 4 or 6; returns it when fine."""
    found = parse_ip(text)
    if found is None:
        errors.invalid(path, text, _BAD_IP)
        return None
    if version and found.version != version:
        errors.invalid(path, text, f"must be an IPv{version} address")
        return None
    return found


def check_usable_ip(errors: Errors, path: str, text: str, version: int = 0) -> None:
    """An address that traffic can go to: no unspecified, loopback, link-local or multicast one."""
    found = check_ip(errors, path, text, version)
    if found is None:
        return
    if found.is_unspecified:
        errors.invalid(path, text, "may not be unspecified (0.0.0.0 or ::)")
    if found.is_loopback:
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        errors.invalid(path, text, detail)
    if found in _MULTICAST_4 or found in _MULTICAST_6:
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.invalid(path, text, detail)


_MULTICAST_4 = ipaddress.ip_network("224.0.0.0/24")
_MULTICAST_6 = ipaddress.ip_network("ff02::/16")


def check_cidr(errors: Errors, path: str, text: str) -> Network | None:
    """A CIDR; returns it when fine."""
    found = parse_cidr(text)
    if found is None:
        errors.invalid(path, text, _BAD_CIDR)
    return found
