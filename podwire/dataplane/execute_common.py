"""What commands share: the objects their words name, and what tools say when there are none."""

from __future__ import annotations

from podwire.dataplane.addr import Prefix, canonical, parse_prefix
from podwire.dataplane.commands import CommandError
from podwire.dataplane.link import Link
from podwire.dataplane.netns import Netns


def device(ns: Netns, name: str) -> Link:
    """A device by name. Raises CommandError."""
    link = ns.links.get(name)
    if link is None:
        raise CommandError(f'Cannot find device "{name}"')
    return link


def prefix(text: str, bits: int = 0) -> Prefix:
    """A network (of a family, if ``bits`` says which). Raises CommandError."""
    try:
        return parse_prefix(text, bits)
    except ValueError:
        family = {0: "inet", 32: "inet", 128: "inet6"}[bits]
        raise CommandError(f'Error: {family} prefix is expected rather than "{text}".') from None


def address(text: str) -> str:
    """An address in canonical form. Raises CommandError."""
    try:
        return canonical(text)
    except ValueError:
        raise CommandError(f'Error: inet address is expected rather than "{text}".') from None
