r"""DNS messages (RFC 1035, 2782, 6891) to and from wire.

Lean on purpose: importing dnspython costs 80-160 ms and each message of it about 60 us, more than
a whole simulated boot may spend. The tests hold this codec against dnspython.

Names are text in presentation form, absolute (``backend.default.svc.cluster.local.``), letter case
kept, bytes outside printable ASCII and dots inside labels escaped as ``\DDD`` and ``\.``.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import NamedTuple, cast

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 41
DS, IXFR, AXFR, ANY = 43, 251, 252, 255
IN, CH = 1, 3

TYPES = {
    "A": A, "NS": NS, "CNAME": CNAME, "SOA": SOA, "PTR": PTR, "HINFO": HINFO, "MX": MX, "TXT": TXT,
    "AAAA": AAAA, "SRV": SRV, "OPT": OPT, "DS": DS, "IXFR": IXFR, "AXFR": AXFR, "ANY": ANY,
    "HTTPS": 65, "NAPTR": 35, "CAA": 257, "RRSIG": 46, "DNSKEY": 48,
}  # fmt: skip
"""Record types by name."""

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

MAX_NAME_BYTES = 255
_HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!HHIH")
_SRV = struct.Struct("!3H")
_SOA = struct.Struct("!5I")


class DnsError(ValueError):
    """A message, or a name, that is no DNS."""


class Srv(NamedTuple):
    """The data of an SRV record."""

    priority: int
    weight: int
    port: int
    target: str


class Soa(NamedTuple):
    """The data of an SOA record; times in seconds."""

    mname: str
    rname: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


class Mx(NamedTuple):
    """The data of an MX record."""

    preference: int
    exchange: str


Data = str | Srv | Soa | Mx | tuple[bytes, ...] | bytes
"""A, AAAA: address text. CNAME, NS, PTR: name. TXT, HINFO: strings. Others: raw bytes."""


class RR(NamedTuple):
    """One resource record; ``ttl`` in seconds."""

    name: str
    type: int
    ttl: int
    data: Data
    rclass: int = IN


class Question(NamedTuple):
    """What is asked."""

    name: str
    type: int
    qclass: int = IN


class Edns(NamedTuple):
    """An OPT pseudo record (RFC 6891); ``options`` stay raw."""

    size_bytes: int
    version: int = 0
    do: bool = False
    options: bytes = b""


@dataclass(slots=True)
class Message:
    """A query or an answer."""

    id: int = 0
    qr: bool = False
    opcode: int = 0
    aa: bool = False
    tc: bool = False
    rd: bool = True
    ra: bool = False
    ad: bool = False
    cd: bool = False
    rcode: int = NOERROR
    questions: list[Question] = field(default_factory=list)
    answer: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    edns: Edns | None = None

    @property
    def question(self) -> Question:
        """The first question. Raises DnsError when there is none."""
        if not self.questions:
            raise DnsError("no question")
        return self.questions[0]

    def reply(self, rcode: int = NOERROR) -> Message:
        """An empty answer to this query: same id, question, opcode and RD."""
        return Message(
            id=self.id, qr=True, opcode=self.opcode, rd=self.rd, cd=self.cd, rcode=rcode,
            questions=list(self.questions),
        )  # fmt: skip


# ------------------------------------------------------------------------------------------- names


def absolute(name: str) -> str:
    """The name with its trailing dot."""
    return name if name.endswith(".") and not name.endswith("\\.") else name + "."


def labels(name: str) -> list[bytes]:
    """The labels of a name as bytes, without the root. Raises DnsError (lengths, escapes)."""
    if name in {".", ""}:
        return []
    out = _unescape(name) if "\\" in name else _plain(name)
    if out and not out[-1]:
        out.pop()
    total = 1
    for label in out:
        if not 0 < len(label) < 64:
            raise DnsError(f"label empty or too long in {name!r}")
        total += len(label) + 1
    if total > MAX_NAME_BYTES:
        raise DnsError(f"name too long: {name!r}")
    return out


def _plain(name: str) -> list[bytes]:
    try:
        return name.encode("ascii").split(b".")
    except UnicodeEncodeError:
        raise DnsError(f"not ASCII: {name!r}") from None


def _unescape(name: str) -> list[bytes]:
    out = [bytearray()]
    i = 0
    raw = name.encode("latin-1", "replace")
    while i < len(raw):
        c = raw[i]
        if c == 0x5C:
            digits = raw[i + 1 : i + 4]
            if len(digits) == 3 and digits.isdigit() and int(digits) < 256:
                out[-1].append(int(digits))
                i += 4
                continue
            if i + 1 >= len(raw):
                raise DnsError(f"ends in a backslash: {name!r}")
            out[-1].append(raw[i + 1])
            i += 2
            continue
        if c == 0x2E:
            out.append(bytearray())
        else:
            out[-1].append(c)
        i += 1
    return [bytes(label) for label in out]


_SPECIAL = frozenset(b'.\\"();@$')


def _label_text(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii")
    return "".join(
        f"\\{chr(c)}" if c in _SPECIAL else chr(c) if 0x21 <= c < 0x7F else f"\\{c:03d}"
        for c in label
    )


def reverse_name(address: str) -> str:
    """The in-addr.arpa or ip6.arpa name of an address. Raises ValueError."""
    return ipaddress.ip_address(address).reverse_pointer + "."


# ------------------------------------------------------------------------------------------ decode


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def name(self) -> str:
        text, self.at = self._name_at(self.at)
        return text

    def _name_at(self, at: int) -> tuple[str, int]:
        data = self.data
        parts: list[str] = []
        total = 1
        end = -1
        limit = at
        while True:
            if at >= len(data):
                raise DnsError("name runs past the end")
            n = data[at]
            if n == 0:
                at += 1
                break
            if n & 0xC0 == 0xC0:
                if at + 1 >= len(data):
                    raise DnsError("pointer runs past the end")
                target = (n & 0x3F) << 8 | data[at + 1]
                if end < 0:
                    end = at + 2
                if target >= limit:
                    raise DnsError("pointer does not point backwards")
                at = limit = target
                continue
            if n & 0xC0:
                raise DnsError("unknown label type")
            label = data[at + 1 : at + 1 + n]
            total += n + 1
            if len(label) < n or total > MAX_NAME_BYTES:
                raise DnsError("label too long")
            parts.append(_label_text(label))
            at += n + 1
        return ".".join(parts) + ".", end if end >= 0 else at

    def take(self, n: int) -> bytes:
        chunk = self.data[self.at : self.at + n]
        if len(chunk) < n:
            raise DnsError("message is cut short")
        self.at += n
        return chunk

    def strings(self, end: int) -> tuple[bytes, ...]:
        out: list[bytes] = []
        while self.at < end:
            out.append(self.take(self.take(1)[0]))
        return tuple(out)

    def rdata(self, rtype: int, length: int) -> Data:
        end = self.at + length
        if end > len(self.data):
            raise DnsError("record data runs past the end")
        data: Data
        if rtype == A and length == 4:
            data = ".".join(map(str, self.take(4)))
        elif rtype == AAAA and length == 16:
            data = ipaddress.IPv6Address(self.take(16)).compressed
        elif rtype in {CNAME, NS, PTR}:
            data = self.name()
        elif rtype == SRV:
            priority, weight, port = _SRV.unpack(self.take(6))
            data = Srv(priority, weight, port, self.name())
        elif rtype == SOA:
            mname, rname = self.name(), self.name()
            data = Soa(mname, rname, *_SOA.unpack(self.take(20)))
        elif rtype == MX:
            data = Mx(int.from_bytes(self.take(2), "big"), self.name())
        elif rtype in {TXT, HINFO}:
            data = self.strings(end)
        else:
            data = self.take(length)
        if self.at != end:
            raise DnsError("record data has another length than it says")
        return data


def decode(data: bytes) -> Message:
    """A message from wire. Raises DnsError; never anything else, whatever the bytes."""
    if len(data) < 12:
        raise DnsError("shorter than a header")
    ident, flags, *counts = _HEADER.unpack_from(data)
    message = Message(
        id=ident,
        qr=bool(flags & 0x8000),
        opcode=flags >> 11 & 15,
        aa=bool(flags & 0x0400),
        tc=bool(flags & 0x0200),
        rd=bool(flags & 0x0100),
        ra=bool(flags & 0x0080),
        ad=bool(flags & 0x0020),
        cd=bool(flags & 0x0010),
        rcode=flags & 15,
    )
    reader = _Reader(data)
    reader.at = 12
    for _ in range(counts[0]):
        name = reader.name()
        message.questions.append(Question(name, *struct.unpack("!HH", reader.take(4))))
    sections = (message.answer, message.authority, message.additional)
    for section, count in zip(sections, counts[1:], strict=True):
        for _ in range(count):
            _read_record(reader, message, section)
    return message


def _read_record(reader: _Reader, message: Message, section: list[RR]) -> None:
    name = reader.name()
    rtype, rclass, ttl, length = _FIXED.unpack(reader.take(10))
    if rtype == OPT:
        if message.edns is not None or name != ".":
            raise DnsError("more than one OPT, or a named one")
        message.edns = Edns(rclass, ttl >> 16 & 255, bool(ttl & 0x8000), reader.take(length))
        message.rcode |= (ttl >> 24) << 4
        return
    section.append(RR(name, rtype, ttl, reader.rdata(rtype, length), rclass))


# ------------------------------------------------------------------------------------------ encode


class _Writer:
    __slots__ = ("compress", "known", "out")

    def __init__(self, *, compress: bool) -> None:
        self.out = bytearray()
        self.compress = compress
        self.known: dict[tuple[bytes, ...], int] = {}

    def name(self, name: str) -> None:
        parts = labels(name)
        out = self.out
        for i, label in enumerate(parts):
            if self.compress:
                rest = tuple(parts[i:])
                at = self.known.get(rest)
                if at is not None:
                    out += (0xC000 | at).to_bytes(2, "big")
                    return
                if len(out) < 0x4000:
                    self.known[rest] = len(out)
            out.append(len(label))
            out += label
        out.append(0)

    def record(self, rr: RR) -> None:
        self.name(rr.name)
        out = self.out
        out += _FIXED.pack(rr.type, rr.rclass, rr.ttl & 0xFFFFFFFF, 0)
        start = len(out)
        self.rdata(rr)
        out[start - 2 : start] = (len(out) - start).to_bytes(2, "big")

    def rdata(self, rr: RR) -> None:
        data, out = rr.data, self.out
        if isinstance(data, bytes):
            out += data
        elif isinstance(data, Srv):
            out += _SRV.pack(data.priority, data.weight, data.port)
            compress, self.compress = self.compress, False  # RFC 2782: targets stay whole
            self.name(data.target)
            self.compress = compress
        elif isinstance(data, Soa):
            self.name(data.mname)
            self.name(data.rname)
            out += _SOA.pack(*data[2:])
        elif isinstance(data, Mx):
            out += data.preference.to_bytes(2, "big")
            self.name(data.exchange)
        elif isinstance(data, tuple):
            for text in cast("tuple[bytes, ...]", data):
                out.append(len(text))
                out += text
        elif rr.type == A:
            out += bytes(map(int, data.split(".")))
        elif rr.type == AAAA:
            out += ipaddress.IPv6Address(data).packed
        else:
            self.name(data)


def _header(message: Message, counts: tuple[int, int, int, int]) -> bytes:
    flags = (
        message.qr << 15
        | (message.opcode & 15) << 11
        | message.aa << 10
        | message.tc << 9
        | message.rd << 8
        | message.ra << 7
        | message.ad << 5
        | message.cd << 4
        | (message.rcode & 15)
    )
    return _HEADER.pack(message.id, flags, *counts)


def _opt(message: Message) -> bytes:
    edns = message.edns
    if edns is None:
        return b""
    ttl = (message.rcode >> 4) << 24 | edns.version << 16 | edns.do << 15
    head = _FIXED.pack(OPT, edns.size_bytes, ttl, len(edns.options))
    return b"\0" + head + edns.options


def encode(message: Message, *, compress: bool = True, max_bytes: int = 65535) -> bytes:
    """A message as wire. When ``max_bytes`` does not hold it, TC is set and as many whole records
    as fit, in order, are kept. Raises DnsError for impossible names.
    """
    writer = _Writer(compress=compress)
    out = writer.out
    out += b"\0" * 12
    for question in message.questions:
        writer.name(question.name)
        out += struct.pack("!HH", question.type, question.qclass)
    opt = _opt(message)
    budget = max_bytes - len(opt)
    counts = [0, 0, 0]
    truncated = False
    for i, section in enumerate((message.answer, message.authority, message.additional)):
        for rr in section:
            before = len(out)
            writer.record(rr)
            if len(out) > budget:
                del out[before:]
                truncated = True
                break
            counts[i] += 1
        if truncated:
            break
    out += opt
    tc = message.tc
    message.tc = tc or truncated
    total = (len(message.questions), counts[0], counts[1], counts[2] + bool(opt))
    out[:12] = _header(message, total)
    message.tc = tc
    return bytes(out)


def query(name: str, qtype: int, ident: int, edns: Edns | None = None) -> bytes:
    """The wire of a plain recursive query."""
    question = Question(absolute(name), qtype)
    return encode(Message(id=ident, questions=[question], edns=edns), compress=False)
