"""Capture filters (pcap-filter): hosts, nets, ports, protocols, and, or, not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from podwire.kubelet.shell.command import UsageError
from podwire.kubelet.shell.dissect import ARP, ICMP, ICMPV6, IPV4, IPV6, SCTP, TCP, UDP, Dissected

Test = Callable[[Dissected], bool]
_PROTOCOLS: dict[str, Test] = {
    "tcp": lambda f: f.protocol == TCP, "udp": lambda f: f.protocol == UDP,
    "sctp": lambda f: f.protocol == SCTP,
    "icmp": lambda f: f.protocol == ICMP, "icmp6": lambda f: f.protocol == ICMPV6,
    "arp": lambda f: f.kind == ARP, "ip": lambda f: f.kind == IPV4, "ip6": lambda f: f.kind == IPV6,
}  # fmt: skip
SERVICES = {"domain": 53, "http": 80, "https": 443, "ssh": 22}


def compile_filter(words: list[str]) -> Test:
    """The test of an expression; [] keeps all. Raises UsageError."""
    tokens = re.findall(r"\(|\)|!|&&|\|\||[^\s()!]+", " ".join(words))
    if not tokens:
        return lambda _: True
    reader = _Reader(tokens)
    test = reader.either()
    if reader.peek():
        raise _wrong(reader.peek())
    return test


def _wrong(word: str) -> UsageError:
    return UsageError(f"not modelled or a syntax error in filter expression: {word or 'the end'}")


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        word = self.peek()
        if not word:
            raise _wrong("")
        self._at += 1
        return word

    def either(self) -> Test:
        tests = [self._both()]
        while self.peek() in {"or", "||"}:
            self.next()
            tests.append(self._both())
        return lambda frame: any(test(frame) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self.peek() in {"and", "&&"}:
            self.next()
            tests.append(self._one())
        return lambda frame: all(test(frame) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > 50:
            raise _wrong(self.peek())
        try:
            if self.peek() in {"not", "!"}:
                self.next()
                inner = self._one()
                return lambda frame: not inner(frame)
            if self.peek() == "(":
                self.next()
                test = self.either()
                if self.next() != ")":
                    raise _wrong(")")
                return test
            return self._primitive()
        finally:
            self._depth -= 1

    def _primitive(self) -> Test:
        tests: list[Test] = []
        side = ""
        while True:
            word = self.next()
            if word in _PROTOCOLS:
                tests.append(_PROTOCOLS[word])
                if self.peek() in {"", ")", "and", "or", "&&", "||"}:
                    break
            elif word in {"src", "dst"}:
                side = word
                if self.peek() == "or" and self._tokens[self._at + 1 : self._at + 2] == ["dst"]:
                    self._at += 2
                    side = ""
                if self.peek() not in {"host", "net", "port", "portrange"}:
                    tests.append(_host(side, self.next()))
                    break
            elif word in {"host", "net", "port", "portrange"}:
                value = self.next()
                made = {"host": _host, "net": _net, "port": _port, "portrange": _port}[word]
                tests.append(made(side, value))
                break
            else:
                raise _wrong(word)
        return lambda frame: all(test(frame) for test in tests)


def _ends(frame: Dissected, side: str) -> list[tuple[str, int]]:
    ends = {"src": (frame.src, frame.src_port), "dst": (frame.dst, frame.dst_port)}
    return [ends[side]] if side else list(ends.values())


def _host(side: str, value: str) -> Test:
    try:
        wanted = str(ipaddress.ip_address(value))
    except ValueError:
        raise UsageError(f"not modelled: a name in a filter: {value}") from None
    return lambda frame: any(address == wanted for address, _ in _ends(frame, side))


def _net(side: str, value: str) -> Test:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise _wrong(value) from None
    return lambda frame: any(
        bool(address) and ipaddress.ip_address(address) in network
        for address, _ in _ends(frame, side)
    )


def _port(side: str, value: str) -> Test:
    low, _, high = str(SERVICES.get(value, value)).partition("-")
    if not low.isdigit() or (high and not high.isdigit()):
        raise UsageError(f"unknown port '{value}'")
    first, last = int(low), int(high or low)
    return lambda frame: (
        frame.protocol in {TCP, UDP, SCTP}
        and any(first <= port <= last for _, port in _ends(frame, side))
    )
