"""The lines that change maps: ``update LINE``, ``delete LINE``, where LINE is what Cilium's tests
dump (``SVC: ID=1 ADDR=10.96.0.10:80/TCP SLOT=0 ...``); ``attach PROGRAM WHERE``, ``detach *``,
``config KEY=VALUE``. Read whole or refused whole, with the number of the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from podwire.dataplane.ebpf import maglev
from podwire.dataplane.ebpf.maps import LB_ENTRIES, SECOND_FAMILY, Backend, Ebpf, Frontend, Service

PROGRAMS = (
    "cil_sock4_connect", "cil_sock4_sendmsg", "cil_sock4_recvmsg", "cil_sock4_getpeername",
    "cil_sock6_connect", "cil_sock6_sendmsg", "cil_sock6_recvmsg", "cil_sock6_getpeername",
    "cil_from_netdev", "cil_to_netdev", "cil_from_container", "cil_from_overlay", "cil_xdp_entry",
)  # fmt: skip
CONFIG = {
    "mode": ("snat", "dsr", "hybrid"),
    "algorithm": ("random", "maglev"),
    "hostNamespaceOnly": ("true", "false"),
    "tableSize": tuple(str(size) for size in maglev.SIZES),
}
_KEY = re.compile(r"(?:^|\s)([A-Za-z]+)=")
_ADDR = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d+)(?:/(TCP|UDP|SCTP))?(/i)?$")


_KEEP = 8
"""Texts whose outcome is remembered: maps are large."""


class Memory:
    """What the latest texts made of which maps: nodes that hold the same maps and get the same
    text get the same maps, without a line read.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[dict[str, Change]]] = {}

    def find(self, ebpf: Ebpf, text: str) -> Ebpf | None:
        """The maps after a text that was met with these very maps before."""
        for changes in self._known.get(text, ()):
            if all(_same(getattr(ebpf, name), before) for name, (before, _) in changes.items()):
                found = ebpf.clone()
                for name, (_, after) in changes.items():
                    setattr(found, name, after)
                return found
        return None

    def keep(self, text: str, changes: dict[str, Change]) -> None:
        """Remember the maps that a text met and left; the oldest texts go when there are many."""
        known = self._known.setdefault(text, [])
        known.append(changes)
        del known[:-2]
        while len(self._known) > _KEEP:
            del self._known[next(iter(self._known))]


Change = tuple[dict[Any, Any], dict[Any, Any]]
"""A map before and after."""
MEMORY = Memory()


def _same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return one is other or not (one or other)


class EbpfError(Exception):
    """A line cannot be used; the message names it."""


@lru_cache(maxsize=65536)
def frontend(text: str) -> Frontend:
    """``IP:PORT/PROTO[/i]``. Raises EbpfError."""
    found = _ADDR.match(text)
    if found is None:
        raise EbpfError(f'bad address "{text}"')
    v6, v4, port, protocol, scope = found.groups()
    return Frontend(v6 or v4, int(port), (protocol or "").lower(), bool(scope))


def fields(text: str) -> dict[str, str]:
    """``KEY=VALUE`` words; a value goes on to the next key."""
    parts = _KEY.split(text)
    return {key: value.strip() for key, value in zip(parts[1::2], parts[2::2], strict=True)}


class _Draft:
    """Maps as some lines leave them: each is copied when the first of them changes it, so that a
    command costs what it writes and the maps it writes to, not all there are.
    """

    def __init__(self, ebpf: Ebpf) -> None:
        self.ebpf = ebpf.clone()
        self._own: dict[str, dict[Any, Any]] = {}

    def __getitem__(self, name: str) -> dict[Any, Any]:
        """A map to write to."""
        table = self._own.get(name)
        if table is None:
            table = self._own[name] = dict(getattr(self.ebpf, name))
            setattr(self.ebpf, name, table)
        return table

    def changes(self, before: Ebpf) -> dict[str, Change]:
        """What became of the maps that the outcome depends on."""
        names = [*self._own, *(("backends", "config") if "maglev" in self._own else ())]
        return {name: (getattr(before, name), getattr(self.ebpf, name)) for name in names}


def apply(ebpf: Ebpf, text: str) -> Ebpf:
    """The maps as some lines leave them. Raises EbpfError; then nothing changed."""
    known = MEMORY.find(ebpf, text)
    if known is not None:
        return known
    draft = _Draft(ebpf)
    for number, line in enumerate(text.splitlines(), 1):
        if _slot(draft, line) or not line.strip() or line.startswith("#"):
            continue
        try:
            _line(draft, line)
        except (EbpfError, KeyError, ValueError) as error:
            what = f"missing {error}" if isinstance(error, KeyError) else str(error)
            raise EbpfError(f"line {number}: {what}: {line}") from None
    after = draft.ebpf
    for name in ("services", "backends", "revnat"):
        held = len(getattr(after, name)) + (len(after.slots) if name == "services" else 0)
        if held > LB_ENTRIES:
            raise EbpfError(f"update of map {name}: argument list too long ({held} entries)")
    MEMORY.keep(text, draft.changes(ebpf))
    return after


_SLOT = re.compile(
    r"update (?:SVC: ID=\d+ ADDR=(?P<at>[0-9.]+:\d+/(?:TCP|UDP|SCTP)) SLOT=(?P<slot>[1-9]\d*) "
    r"BEID=(?P<to>\d+) COUNT=\d+ QCOUNT=\d+ FLAGS=[A-Za-z+-]+"
    r"|BE: ID=(?P<id>\d+) ADDR=(?P<ip>[0-9.]+):(?P<port>\d+)/(?P<proto>TCP|UDP|SCTP) "
    r"STATE=(?P<state>[a-z]+))",
    re.ASCII,
)


def _slot(draft: _Draft, line: str) -> bool:
    """The two lines that most of a text are, as kube-proxy writes them; whether it was one. What
    it passes over ``_line`` reads, and would read the same of these.
    """
    found = _SLOT.fullmatch(line)
    if found is None:
        return False
    at, slot, to, number, ip, port, protocol, state = found.groups()
    if number is None:
        draft["slots"][frontend(at), int(slot)] = int(to)
    else:
        draft["backends"][int(number)] = Backend(ip, int(port), protocol.lower(), state)
    return True


def _line(draft: _Draft, line: str) -> None:
    verb, _, rest = line.partition(" ")
    if verb == "attach":
        program, *where = rest.split()
        if program not in PROGRAMS:
            raise EbpfError(f'unknown program "{program}"')
        draft["attached"][program] = tuple(where)
    elif verb == "detach":
        draft["attached"].clear()
    elif verb == "config":
        key, _, value = rest.partition("=")
        if value not in CONFIG.get(key, ()):
            raise EbpfError(f'bad option "{rest}"')
        draft["config"][key] = value
    elif verb in {"update", "delete"}:
        kind, _, about = rest.partition(": ")
        change = _KINDS.get(kind)
        if change is None:
            raise EbpfError(f'unknown map "{kind}"')
        about, _, name = about.partition(" # ")
        change(draft, fields(about), verb == "update", name)
    elif verb == "clear":
        _clear(draft, rest)
    else:
        raise EbpfError(f'unknown verb "{verb}"')


def _clear(draft: _Draft, family: str) -> None:
    """All entries of a family; without one, programs and options too."""
    if family not in {"", "ipv4", "ipv6"}:
        raise EbpfError(f'unknown family "{family}"')
    for name in Ebpf.TABLES:
        table = draft[name]
        if not family:
            table.clear()
        elif name not in {"attached", "config"}:
            for key in [key for key in table if _family(key) == family]:
                del table[key]


def _family(key: Any) -> str:
    """The family that a key of a map belongs to: by its address, or its id."""
    while isinstance(key, tuple):
        key = key[0]
    second = ":" in key if isinstance(key, str) else key >= SECOND_FAMILY
    return "ipv6" if second else "ipv4"


def _svc(draft: _Draft, f: dict[str, str], add: bool, name: str) -> None:
    at, slot = frontend(f["ADDR"]), int(f["SLOT"])
    if not add:
        if slot:
            draft["slots"].pop((at, slot), None)
        else:
            draft["services"].pop(at, None)
    elif slot:
        draft["slots"][at, slot] = int(f["BEID"])
    else:
        algorithm, flags = f["LBALG"], tuple(f["FLAGS"].split("+"))
        counts = int(f["COUNT"]), int(f["QCOUNT"]), int(f["AFFTimeout"])
        draft["services"][at] = Service(int(f["ID"]), *counts, algorithm, flags, name)


def _be(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    number = int(f["ID"])
    if add:
        at = frontend(f["ADDR"])
        draft["backends"][number] = Backend(at.ip, at.port, at.protocol, f["STATE"])
    else:
        draft["backends"].pop(number, None)


def _rev(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    if add:
        at = frontend(f["ADDR"])
        draft["revnat"][int(f["ID"])] = (at.ip, at.port)
    else:
        draft["revnat"].pop(int(f["ID"]), None)


def _aff(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    key = (int(f["ID"]), int(f["BEID"]))
    if add:
        draft["affinity_match"][key] = None
    else:
        draft["affinity_match"].pop(key, None)


def _range(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    key = (int(f["ID"]), f["CIDR"])
    if add:
        draft["source_ranges"][key] = None
    else:
        draft["source_ranges"].pop(key, None)


def _maglev(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    number = int(f["ID"])
    if not add:
        draft["maglev"].pop(number, None)
        return
    ids = [int(word) for word in f["BACKENDS"].split(",")]
    size = int(draft.ebpf.config.get("tableSize", maglev.DEFAULT_SIZE))
    backends = [(draft.ebpf.backends[i], i) for i in ids]
    named = tuple((maglev.hash_text(b.ip, b.port, b.protocol), i, 1) for b, i in backends)
    draft["maglev"][number] = maglev.table(named, size)


def _lxc(draft: _Draft, f: dict[str, str], add: bool, _: str) -> None:
    if add:
        draft["endpoints"][f["IP"]] = None
    else:
        draft["endpoints"].pop(f["IP"], None)


_KINDS: dict[str, Callable[[_Draft, dict[str, str], bool, str], None]] = {
    "SVC": _svc, "BE": _be, "REV": _rev, "AFF": _aff, "SRCRANGE": _range, "MAGLEV": _maglev,
    "LXC": _lxc,
}  # fmt: skip
