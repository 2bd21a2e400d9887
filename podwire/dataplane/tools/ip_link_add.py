"""``ip link add`` and ``ip tunnel add``, as iproute2 reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podwire.dataplane import commands as c
from podwire.dataplane.execute_links import LINK_KINDS
from podwire.dataplane.netns import Netns
from podwire.dataplane.tools.words import UsageError, Words, not_modelled

Fields = dict[str, Any]


def _number(word: str, what: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise UsageError(f'Error: argument "{word}" is wrong: {what}', 255) from None


def link_add(ns: Netns, words: Words) -> c.LinkAdd:
    """``[dev] NAME [address MAC] [mtu N] type KIND ...``. Raises UsageError."""
    fields: Fields = {"netns": ns.name}
    for word in words:
        if word == "type":
            return _typed(ns, words, fields)
        if word == "address":
            fields["mac"] = words.next()
        elif word == "mtu":
            fields["mtu_bytes"] = _number(words.next(), 'Invalid "mtu" value')
        elif word in {"name", "dev"}:
            fields["name"] = words.next()
        elif "name" not in fields:
            fields["name"] = word
        else:
            raise not_modelled(f"ip link add {word}")
    raise UsageError('Not enough information: "type" argument is required', 255)


def _typed(ns: Netns, words: Words, fields: Fields) -> c.LinkAdd:
    kind = words.next()
    if kind not in LINK_KINDS:
        raise not_modelled(f"ip link add type {kind}")
    fields["kind"] = kind
    _OPTIONS.get(kind, _none)(ns, words, fields)
    if "name" not in fields:
        raise UsageError("RTNETLINK answers: Invalid argument", 2)
    return c.LinkAdd(**fields)


def _none(_ns: Netns, words: Words, fields: Fields) -> None:
    for word in words:
        raise not_modelled(f"ip link add type {fields['kind']} {word}")


def _veth(ns: Netns, words: Words, fields: Fields) -> None:
    """``peer [name] NAME [netns NS] [address MAC]``."""
    fields["peer_netns"] = ns.name
    for word in words:
        if word in {"peer", "name"}:
            if word == "peer" and words.peek() in {"name", "netns", "address"}:
                continue
            fields["peer_name"] = words.next()
        elif word == "netns":
            fields["peer_netns"] = words.next()
        elif word == "address":
            fields["peer_mac"] = words.next()
        else:
            raise not_modelled(f"ip link add type veth {word}")
    if "peer_name" not in fields:
        raise not_modelled("ip link add type veth without a name for the peer")


_WORDS = {"local": "local", "remote": "remote", "dev": "dev"}


def _tunnel(_ns: Netns, words: Words, fields: Fields) -> None:
    """VXLAN's, Geneve's and IPIP's options."""
    kind = fields["kind"]
    for word in words:
        if word in _WORDS:
            fields[_WORDS[word]] = words.next()
        elif word in {"id", "vni"} and kind != "ipip":
            fields["vni"] = _number(words.next(), "invalid id")
        elif word == "dstport" and kind != "ipip":
            fields["dst_port"] = _number(words.next(), "dst port")
        elif word in {"learning", "nolearning"} and kind == "vxlan":
            fields["learning"] = word == "learning"
        else:
            raise not_modelled(f"ip link add type {kind} {word}")
    if kind != "ipip" and "vni" not in fields:
        raise UsageError(f"{kind}: missing virtual network identifier", 255)


_OPTIONS: dict[str, Callable[[Netns, Words, Fields], None]] = {
    "veth": _veth, "vxlan": _tunnel, "geneve": _tunnel, "ipip": _tunnel,
}  # fmt: skip


def tunnel_add(ns: Netns, words: Words) -> c.LinkAdd:
    """``ip tunnel add NAME mode ipip remote IP local IP [dev DEV]``. Raises UsageError."""
    name = words.next()
    name = words.next() if name in {"name", "dev"} else name
    fields: Fields = {"netns": ns.name, "name": name, "kind": ""}
    for word in words:
        if word == "mode":
            mode = words.next()
            if mode not in {"ipip", "ip/ip"}:
                raise not_modelled(f"ip tunnel add mode {mode}")
            fields["kind"] = "ipip"
        elif word in _WORDS:
            fields[_WORDS[word]] = words.next()
        else:
            raise not_modelled(f"ip tunnel add {word}")
    if not fields["kind"]:
        raise UsageError("cannot determine tunnel mode (ipip, gre, vti or sit)", 255)
    return c.LinkAdd(**fields)
