"""Matches about places: kinds of addresses, ports of a bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from podwire.dataplane.addr import is_multicast
from podwire.dataplane.netfilter.env import Env
from podwire.dataplane.netfilter.match_base import bang, device, one, options
from podwire.dataplane.netfilter.text import RuleError
from podwire.dataplane.skb import Skb


@dataclass(frozen=True, slots=True)
class AddrType:
    """``-m addrtype``: what kind of address, by the routing tables."""

    src: str = ""
    dst: str = ""
    not_src: bool = False
    not_dst: bool = False
    limit: str = ""
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> AddrType:
        """``--dst-type LOCAL``, ``--src-type``, ``--limit-iface-in|out``."""
        found: dict[str, Any] = {}
        for inverted, option, arguments in options(words):
            if option in {"--src-type", "--dst-type"}:
                side = option[2:5]
                found[side], found[f"not_{side}"] = one(option, arguments).upper(), inverted
            elif option in {"--limit-iface-in", "--limit-iface-out"}:
                found["limit"] = option.rsplit("-", 1)[1]
            else:
                raise RuleError(f'unknown option "{option}"')
        return cls(**found)

    def save(self) -> str:
        """Its words in iptables-save."""
        text = "-m addrtype"
        if self.src:
            text += f" {bang(self.not_src)}--src-type {self.src}"
        if self.dst:
            text += f" {bang(self.not_dst)}--dst-type {self.dst}"
        return text + (f" --limit-iface-{self.limit}" if self.limit else "")

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        text = "ADDRTYPE match"
        if self.src:
            text += f" src-type {'!' if self.not_src else ''}{self.src}"
        if self.dst:
            text += f" dst-type {'!' if self.not_dst else ''}{self.dst}"
        return text + (f" limit-{self.limit}" if self.limit else "")

    def test(self, skb: Skb, env: Env) -> bool:
        """Whether a packet matches."""
        dev = {"in": skb.in_dev, "out": skb.out_dev, "": ""}[self.limit]
        if self.src and (_address_type(env, skb.packet.src, dev) in self._set(self.src)) == (
            self.not_src
        ):
            return False
        return not self.dst or (
            (_address_type(env, skb.packet.dst, dev) in self._set(self.dst)) != self.not_dst
        )

    @staticmethod
    def _set(names: str) -> list[str]:
        return names.split(",")


def _address_type(env: Env, address: str, dev: str) -> str:
    if is_multicast(address):
        return "MULTICAST"
    if address == "255.255.255.255":
        return "BROADCAST"
    if ":" in address and address in env.ns.local:
        dev_of = env.ns.local[address]
        return "UNICAST" if dev and dev_of != dev else "LOCAL"
    route = env.ns.fib_of(address).lookup(address)
    if route is None:
        return "UNREACHABLE"
    kind = route.type.upper()
    return "UNICAST" if kind == "LOCAL" and dev and route.dev != dev else kind


@dataclass(frozen=True, slots=True)
class Physdev:
    """``-m physdev``: the ports of a bridge a packet came by and leaves by."""

    tests: tuple[tuple[bool, str, str], ...]
    PURE: ClassVar[bool] = False

    @classmethod
    def parse(cls, words: list[str]) -> Physdev:
        """``--physdev-in DEV``, ``--physdev-out DEV``, ``--physdev-is-in|out|bridged``."""
        tests = []
        for inverted, option, arguments in options(words):
            name = option.removeprefix("--physdev-")
            if name in {"in", "out"}:
                tests.append((inverted, name, one(option, arguments)))
            elif name in {"is-in", "is-out", "is-bridged"}:
                tests.append((inverted, name, ""))
            else:
                raise RuleError(f'unknown option "{option}"')
        return cls(tuple(tests))

    def _words(self) -> str:
        return "".join(
            f" {bang(no)}--physdev-{name}{' ' + dev if dev else ''}" for no, name, dev in self.tests
        )

    def save(self) -> str:
        """Its words in iptables-save."""
        return f"-m physdev{self._words()}"

    def show(self) -> str:
        """Its words in ``iptables -L``."""
        return f"PHYSDEV match{self._words()}"

    def test(self, skb: Skb, _env: Env) -> bool:
        """Whether a packet matches."""
        for inverted, name, dev in self.tests:
            if name == "is-bridged":
                hit = bool(skb.phys_in and skb.phys_out)
            else:
                have = skb.phys_in if name.endswith("in") else skb.phys_out
                hit = bool(have) if name.startswith("is-") else bool(have) and device(dev, have)
            if hit == inverted:
                return False
        return True
