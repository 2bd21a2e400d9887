"""Syntax of IP addresses and CIDRs in fields.

Fields that are older than strict validation take what a Go program of old would parse, and are told
what is wrong with it; newer ones (``canonical``) take one spelling only. Values that the stored
object holds already stay valid.
Source: apimachinery pkg/util/validation/ip.go and kubernetes pkg/apis/core/validation
ValidateNonSpecialIP.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container
from functools import lru_cache

from podwire.api.validation.field import Errors

_BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_LEADING_ZERO = re.compile(r"(^|[.:])0+(?=[0-9])")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(text: str) -> Address | None:
    """The address, or None."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_sloppy_ip(text: str) -> Address | None:
    """The address even if octets have leading zeros (read as decimal), or None."""
    found = parse_ip(text)
    if found is None and "." in text:
        found = parse_ip(_LEADING_ZERO.sub(r"\1", text))
    return found


def parse_cidr(text: str) -> Network | None:
    """The network (host bits and leading zeros ignored), or None."""
    address, _, length = text.partition("/")
    if not (length.isascii() and length.isdigit()):
        return None
    found = parse_sloppy_ip(address)
    if found is None or int(length) > found.max_prefixlen:
        return None
    return ipaddress.ip_network(f"{found}/{int(length)}", strict=False)


def check_ip(
    errors: Errors, path: str, text: str, *, canonical: bool = False, old: Container[str] = ()
) -> Address | None:
    """An address; returns it when it could be read at all."""
    if text in old:
        return parse_sloppy_ip(text)
    found = parse_sloppy_ip(text)
    if found is None:
        errors.invalid(path, text, _BAD_IP)
        return None
    if parse_ip(text) is None:
        errors.invalid(path, text, "must not have leading 0s")
    elif isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        errors.invalid(path, text, "must not be an IPv4-mapped IPv6 address")
    elif canonical and str(found) != text:
        errors.invalid(path, text, f'must be in canonical form ("{found}")')
    return found


def address_name(text: str) -> list[str]:
    """Complaints about an address as the name of an object (IPAddress)."""
    errors = Errors()
    check_ip(errors, "", text, canonical=True)
    start = f'Invalid value: "{text}": '
    return [cause.message.removeprefix(start) for cause in errors.causes]


def check_usable_ip(
    errors: Errors, path: str, text: str, version: int = 0, old: Container[str] = ()
) -> None:
    """An address that traffic can go to: no unspecified, loopback, link-local or multicast one.

    Of a family if ``version`` is 4 or 6.
    """
    if usable_as(text) in _FAMILIES[version]:
        return
    found = check_ip(errors, path, text, old=old)
    if found is None:
        return
    if version and found.version != version:
        errors.invalid(path, text, f"must be an IPv{version} address")
        return
    _check_range(errors, path, text, found)


def _check_range(errors: Errors, path: str, text: str, found: Address) -> None:
    if found.is_unspecified:
        errors.invalid(path, text, f"may not be unspecified ({text})")
    if found.is_loopback:
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        errors.invalid(path, text, detail)
    if found in _MULTICAST_4 or found in _MULTICAST_6:
        detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.invalid(path, text, detail)


_FAMILIES = {0: (4, 6), 4: (4,), 6: (6,)}


@lru_cache(maxsize=16384)
def usable_as(text: str) -> int:
    """4 or 6 for an address of that family with which nothing is wrong, else 0; remembered, since
    the endpoints of a Service are written whenever one of them changes.
    """
    errors = Errors()
    found = check_ip(errors, "", text)
    if found is None or errors.causes:
        return 0
    _check_range(errors, "", text, found)
    return 0 if errors.causes else found.version


_MULTICAST_4 = ipaddress.ip_network("224.0.0.0/24")
_MULTICAST_6 = ipaddress.ip_network("ff02::/16")


def check_cidr(
    errors: Errors, path: str, text: str, *, canonical: bool = False, old: Container[str] = ()
) -> Network | None:
    """A CIDR; returns it when it could be read at all."""
    found = parse_cidr(text)
    if text in old:
        return found
    if found is None:
        errors.invalid(path, text, _BAD_CIDR)
        return None
    written, _, length = text.partition("/")
    address = parse_ip(written)
    if address is None or length != str(int(length)):
        errors.invalid(path, text, "must not have leading 0s in IP or prefix length")
    elif isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        errors.invalid(path, text, "must not have an IPv4-mapped IPv6 address")
    elif address != found.network_address:
        errors.invalid(path, text, "must not have bits set beyond the prefix length")
    elif canonical and str(found) != text:
        errors.invalid(path, text, f'must be in canonical form ("{found}")')
    return found


def ip_warnings(path: str, text: str) -> list[str]:
    """What a client is told about an accepted address that is not written canonically."""
    found = parse_sloppy_ip(text)
    if found is None:
        return []
    mapped = getattr(found, "ipv4_mapped", None)
    if parse_ip(text) is None or mapped is not None:
        use = mapped or found
        return [f'{path}: non-standard IP address "{text}" is invalid: use "{use}"']
    if found.version == 6 and str(found) != text:
        form = "should be in RFC 5952 canonical format"
        return [f'{path}: IPv6 address "{text}" {form} ("{found}")']
    return []


def cidr_warnings(path: str, text: str) -> list[str]:
    """The same of a CIDR."""
    found = parse_cidr(text)
    if found is None:
        return []
    written, _, length = text.partition("/")
    address, told = parse_sloppy_ip(written), []
    if address != found.network_address:
        one = f"{address}/{found.max_prefixlen}"
        told.append(
            f'{path}: CIDR value "{text}" is ambiguous in this context '
            f'(should be "{found}" or "{one}"?)'
        )
    mapped = getattr(address, "ipv4_mapped", None)
    if parse_ip(written) is None or mapped is not None or length != str(int(length)):
        told.append(f'{path}: non-standard CIDR value "{text}" is invalid: use "{found}"')
    if not told and found.version == 6 and str(found) != text:
        form = "should be in RFC 5952 canonical format"
        told.append(f'{path}: IPv6 CIDR value "{text}" {form} ("{found}")')
    return told
