"""dnat, snat, masquerade and redirect of nft rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from podwire.dataplane.netfilter.targets import Nat as Target
from podwire.dataplane.nft import types as t
from podwire.dataplane.nft.env import Env
from podwire.dataplane.nft.expr import Constant, Expr
from podwire.dataplane.nft.stmt import BREAK, Outcome, Run
from podwire.dataplane.skb import Skb

FLAGS = ("random", "fully-random", "persistent")
NAMES = {"dnat": "DNAT", "snat": "SNAT", "masquerade": "MASQUERADE", "redirect": "REDIRECT"}


@dataclass(frozen=True, slots=True)
class Nat:
    """``dnat to 10.0.0.1:80``; ``family`` is the word of ``dnat ip to``."""

    kind: str
    family: str = ""
    address: Expr | None = None
    port: Expr | None = None
    flags: tuple[str, ...] = ()

    def show(self) -> str:
        """As nft prints it."""
        words = self.kind + (f" {self.family}" if self.family else "")
        to = self._address() if self.address is not None else ""
        if self.port is not None:
            to += f":{self.port.show()}"
        words += f" to {to}" if to else ""
        flags = [flag for flag in FLAGS if flag in self.flags]
        return f"{words} {','.join(flags)}" if flags else words

    def _address(self) -> str:
        assert self.address is not None
        text = self.address.show()
        if self.port is None or not isinstance(self.address, Constant) or ":" not in text:
            return text
        return "-".join(f"[{end}]" for end in text.split("-"))

    def code(self) -> Run:
        """A function that does it."""
        flags = self.flags
        if self.address is None:
            target = _target(self.kind, "", "", self._ports(), flags)
            return lambda _skb, _env: ("nat", target)
        address, port, kind = self.address.code(), self.port, self.kind
        port_code = port.code() if port is not None else None

        def run(skb: Skb, env: Env) -> Outcome:
            value = address(skb, env)
            if value is None:
                return BREAK
            to_port = port_code(skb, env) if port_code is not None else None
            if isinstance(value, tuple):
                value, to_port = value
            ip, last = _ends(value)
            return ("nat", _target(kind, ip, last, _span(to_port), flags))

        if isinstance(self.address, Constant) and (port is None or isinstance(port, Constant)):
            ip, last = _ends(self.address.value)
            fixed = ("nat", _target(kind, ip, last, self._ports(), flags))
            return lambda _skb, _env: fixed
        return run

    def _ports(self) -> tuple[int, int] | None:
        return _span(self.port.value) if isinstance(self.port, Constant) else None


def _ends(value: Any) -> tuple[str, str]:
    if not isinstance(value, t.Range):
        return value, ""
    kind = t.IPV6 if value.high >> 32 else t.IPV4
    low, high = kind.back(value.low), kind.back(value.high)
    return low, "" if low == high else high


def _span(port: Any) -> tuple[int, int] | None:
    if port is None:
        return None
    return (port.low, port.high) if isinstance(port, t.Range) else (port, port)


@lru_cache(maxsize=1 << 16)
def _target(
    kind: str,
    ip: str,
    last: str,
    ports: tuple[int, int] | None,
    flags: tuple[str, ...],
) -> Target:
    return Target(
        NAMES[kind], ip, last, ports,
        "random" in flags, "fully-random" in flags, "persistent" in flags,
    )  # fmt: skip
