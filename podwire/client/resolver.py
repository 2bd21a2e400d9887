"""How a pod's C library looks names up, without doing I/O: resolv.conf, hosts, search list, A+AAAA.

A ``Lookup`` says what to ask next (``pending``), takes the answers (``feed``) and ends in a
``Result``. Programs drive it over sockets, a trace over its own forked datagrams.

Two flavours, as measured with glibc 2.36 and musl 1.2.3:

- glibc tries the name as it is first when it has ``ndots`` dots, and the search list after that;
  NODATA and SERVFAIL go on to the next candidate; an answer to A alone is enough.
- musl never searches a name with ``ndots`` dots; NODATA ends the search; any NXDOMAIN among the
  answers means "no such name"; a missing or SERVFAIL answer to either question fails the lookup;
  a truncated one is no answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from podwire.client import dnstext, dnswire
from podwire.client.dnswire import AAAA, CNAME, RR, A, Message, Question

GLIBC, MUSL = "glibc", "musl"
MAX_NAMESERVERS = 3
MAX_CHAIN = 16


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """resolv.conf(5), with its defaults and limits."""

    nameservers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_s: int = 5
    attempts: int = 2
    rotate: bool = False
    use_vc: bool = False
    single_request: bool = False
    single_request_reopen: bool = False
    no_aaaa: bool = False


_NUMBERS = {"ndots": ("ndots", 15), "timeout": ("timeout_s", 30), "attempts": ("attempts", 5)}
_FLAGS = {
    "rotate": "rotate",
    "use-vc": "use_vc",
    "single-request": "single_request",
    "single-request-reopen": "single_request_reopen",
    "no-aaaa": "no_aaaa",
}


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read resolv.conf as the C libraries do: unknown words are skipped, the last search wins."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1 and _is_address(words[1]):
            servers.append(words[1])
        elif words[0] in {"search", "domain"}:
            search = tuple(word.rstrip(".") for word in words[1:] if word != ".")
        elif words[0] == "options":
            for word in words[1:]:
                name, _, value = word.partition(":")
                if name in _NUMBERS and value.isdigit():
                    key, most = _NUMBERS[name]
                    options[key] = min(int(value), most)
                elif name in _FLAGS:
                    options[_FLAGS[name]] = True
    if servers:
        options_servers = tuple(servers[:MAX_NAMESERVERS])
        return ResolvConf(nameservers=options_servers, search=search, **options)
    return ResolvConf(search=search, **options)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


class Hosts:
    """/etc/hosts."""

    def __init__(self, text: str) -> None:
        self.entries: list[tuple[str, tuple[str, ...]]] = []
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) > 1 and _is_address(words[0]):
                self.entries.append((words[0], tuple(words[1:])))

    def addresses(self, name: str) -> list[str]:
        """Every address of a name, in file order."""
        wanted = name.rstrip(".").lower()
        return [
            address
            for address, names in self.entries
            if any(known.lower() == wanted for known in names)
        ]

    def canonical(self, name: str) -> str:
        """The first name of the line that names it, or ''."""
        wanted = name.rstrip(".").lower()
        for _, names in self.entries:
            if any(known.lower() == wanted for known in names):
                return names[0]
        return ""

    def names(self, address: str) -> list[str]:
        """The names of an address."""
        return [name for known, names in self.entries if known == address for name in names]


def candidates(name: str, conf: ResolvConf, flavour: str = GLIBC) -> list[str]:
    """The absolute names tried for a name, in order."""
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{domain}." for domain in conf.search]
    whole = f"{name}."
    if name.count(".") < conf.ndots:
        return [*searched, whole]
    return [whole] if flavour == MUSL else [whole, *searched]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question that was put, and what came of it (rcode "" when no answer came)."""

    name: str
    type: str
    rcode: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """How a lookup ended. ``error`` is "", NONAME, NODATA, AGAIN or FAIL (EAI_*)."""

    name: str
    addresses: tuple[str, ...] = ()
    canonical: str = ""
    """The name that finally has the addresses (without trailing dot)."""
    chain: tuple[str, ...] = ()
    """CNAMEs passed, from the candidate asked to the canonical name."""
    error: str = ""
    rcode: str = ""
    """Of the last answer; "" when none came."""
    source: str = "dns"
    """dns, hosts, or literal (the name was an address)."""
    asked: tuple[Asked, ...] = ()


_MESSAGES = {
    GLIBC: {
        "NONAME": "Name or service not known",
        "NODATA": "No address associated with hostname",
        "AGAIN": "Temporary failure in name resolution",
        "FAIL": "Non-recoverable failure in name resolution",
    },
    MUSL: {
        "NONAME": "Name does not resolve",
        "NODATA": "Name has no usable address",
        "AGAIN": "Try again",
        "FAIL": "Unrecoverable error",
    },
}


def strerror(error: str, flavour: str = GLIBC) -> str:
    """gai_strerror of an error of ``Result``."""
    return _MESSAGES[flavour][error]


@dataclass(slots=True)
class Lookup:
    """One getaddrinfo. Loop: while ``result`` is None, ask ``pending()`` and ``feed`` answers."""

    name: str
    conf: ResolvConf
    hosts: Hosts
    family: str = "any"
    """any, inet or inet6."""
    flavour: str = GLIBC
    result: Result | None = None
    _candidates: list[str] = field(default_factory=list)
    _asked: list[Asked] = field(default_factory=list)
    _got_nodata: bool = False
    _got_servfail: bool = False
    _rcode: str = ""

    def __post_init__(self) -> None:
        if self._literal() or self._from_hosts():
            return
        self._candidates = [name for name in self._names() if _askable(name)]
        if not self._candidates:
            self.result = Result(self.name, error="NONAME")

    def pending(self) -> tuple[Question, ...]:
        """The questions to put now, together: A and AAAA of the current candidate."""
        name = self._candidates[0]
        types = {"any": (A, AAAA), "inet": (A,), "inet6": (AAAA,)}[self.family]
        if self.conf.no_aaaa and self.flavour == GLIBC and self.family == "any":
            types = (A,)
        return tuple(Question(name, qtype) for qtype in types)

    def feed(self, answers: Sequence[Message | None]) -> None:
        """Take the answers to ``pending()``, in its order; None where none came in time."""
        questions = self.pending()
        found: list[str] = []
        name = questions[0].name
        chain: tuple[str, ...] = ()
        for question, answer in zip(questions, answers, strict=True):
            addresses, canonical, passed = follow(question, answer)
            found += addresses
            if addresses:
                name, chain = canonical, passed
            self._note(question, answer, addresses)
        error = _musl(answers, found) if self.flavour == MUSL else self._glibc(answers, found)
        if error == "next":
            self._candidates.pop(0)
            if not self._candidates:
                self._finish(self._last_error())
        elif error:
            self._finish(error)
        else:
            canonical = name.rstrip(".")
            self._finish("", tuple(self._sort(found)), canonical, chain)

    # ------------------------------------------------------------------ internals

    def _names(self) -> list[str]:
        return candidates(self.name, self.conf, self.flavour) if self.name else []

    def _literal(self) -> bool:
        text = self.name.strip("[]")
        if not _is_address(text):
            return False
        version = "inet6" if ":" in text else "inet"
        fits = self.family in {"any", version}
        self.result = Result(
            self.name, (text,) if fits else (), text, error="" if fits else "NONAME",
            source="literal",
        )  # fmt: skip
        return True

    def _from_hosts(self) -> bool:
        found = [
            address
            for address in self.hosts.addresses(self.name)
            if self.family == "any" or (":" in address) == (self.family == "inet6")
        ]
        if found:
            canonical = self.hosts.canonical(self.name)
            self.result = Result(self.name, tuple(found), canonical, source="hosts")
        return bool(found)

    def _note(self, question: Question, answer: Message | None, addresses: Sequence[str]) -> None:
        rcode = "" if answer is None else dnstext.rcode_name(answer.rcode)
        self._rcode = rcode or self._rcode
        self._asked.append(
            Asked(question.name, dnstext.type_name(question.type), rcode, tuple(addresses))
        )

    def _glibc(self, answers: Sequence[Message | None], found: list[str]) -> str:
        if found:
            return ""
        codes = [None if answer is None else answer.rcode for answer in answers]
        if all(code is None for code in codes):
            return "AGAIN"
        if dnswire.SERVFAIL in codes:
            self._got_servfail = True
        elif dnswire.NOERROR in codes:
            self._got_nodata = True
        elif dnswire.NXDOMAIN not in codes:
            return "FAIL" if dnswire.REFUSED not in codes else "AGAIN"
        return "next"

    def _last_error(self) -> str:
        if self._got_nodata:
            return "NODATA"
        return "AGAIN" if self._got_servfail else "NONAME"

    def _sort(self, found: list[str]) -> list[str]:
        """RFC 6724 in glibc lists AAAA first, musl in the order asked."""
        if self.flavour == MUSL:
            return found
        return sorted(found, key=lambda address: ":" not in address)

    def _finish(
        self,
        error: str,
        addresses: tuple[str, ...] = (),
        canonical: str = "",
        chain: tuple[str, ...] = (),
    ) -> None:
        self.result = Result(
            self.name, addresses, canonical, chain, error, self._rcode, "dns", tuple(self._asked)
        )


def _askable(name: str) -> bool:
    try:
        dnswire.labels(name)
    except dnswire.DnsError:
        return False
    return True


def _musl(answers: Sequence[Message | None], found: list[str]) -> str:
    for answer in answers:
        if answer is None or answer.rcode == dnswire.SERVFAIL:
            return "AGAIN"
        if answer.rcode == dnswire.NXDOMAIN:
            return "next"
        if answer.rcode != dnswire.NOERROR:
            return "FAIL"
    if found:
        return ""
    return "NONAME" if any(answer is not None and answer.tc for answer in answers) else "NODATA"


def follow(question: Question, answer: Message | None) -> tuple[list[str], str, tuple[str, ...]]:
    """Addresses in an answer, the name that has them, and the CNAMEs passed on the way."""
    name = question.name
    chain: list[str] = []
    if answer is None:
        return [], name, ()
    by_name: dict[str, list[RR]] = {}
    for rr in answer.answer:
        by_name.setdefault(rr.name.lower(), []).append(rr)
    for _ in range(MAX_CHAIN):
        records = by_name.get(name.lower(), ())
        addresses = [str(rr.data) for rr in records if rr.type == question.type]
        if addresses:
            return addresses, name, tuple(chain)
        alias = next((str(rr.data) for rr in records if rr.type == CNAME), "")
        if not alias:
            break
        chain.append(alias)
        name = alias
    return [], name, tuple(chain)


Exchange = Callable[[tuple[Question, ...]], Awaitable[Sequence[Message | None]]]
"""Puts questions together and returns the answers in order (None: none came)."""


async def run(lookup: Lookup, exchange: Exchange) -> Result:
    """Drive a lookup to its end with an exchange."""
    while lookup.result is None:
        lookup.feed(await exchange(lookup.pending()))
    return lookup.result
