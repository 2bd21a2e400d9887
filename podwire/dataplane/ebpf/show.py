"""The maps as lines, and as ``cilium-dbg`` prints them."""

from __future__ import annotations

from collections.abc import Sequence

from podwire.dataplane.ebpf.maps import Backend, Ebpf, Frontend


def lines(ebpf: Ebpf) -> list[str]:
    """Every entry as Cilium's tests dump it (lbmaps: ``AFF`` ``BE`` ``MAGLEV`` ``REV`` ...)."""
    found = [f"AFF: ID={a} BEID={b}" for a, b in ebpf.affinity_match]
    found += [f"BE: ID={i} ADDR={_text(b)} STATE={b.state}" for i, b in ebpf.backends.items()]
    for number, table in ebpf.maglev.items():
        held = sorted(set(table))
        inner = ", ".join(f"{i}({table.count(i)})" for i in held)
        found.append(f"MAGLEV: ID={number} INNER=[{inner}]")
    for number, (ip, port) in ebpf.revnat.items():
        host = f"[{ip}]" if ":" in ip else ip
        found.append(f"REV: ID={number} ADDR={host}:{port}")
    found += [f"SRCRANGE: ID={number} CIDR={cidr}" for number, cidr in ebpf.source_ranges]
    for at, s in ebpf.services.items():
        words = "+".join(s.flags)
        found.append(
            f"SVC: ID={s.id} ADDR={at} SLOT=0 LBALG={s.algorithm} AFFTimeout={s.affinity_s} "
            f"COUNT={s.active} QCOUNT={s.inactive} FLAGS={words}"
        )
    for (at, slot), number in ebpf.slots.items():
        s = ebpf.services[at]
        found.append(
            f"SVC: ID={s.id} ADDR={at} SLOT={slot} BEID={number} COUNT=0 QCOUNT=0 "
            f"FLAGS={'+'.join(s.flags)}"
        )
    return sorted(found)


def _text(backend: Backend) -> str:
    return str(Frontend(backend.ip, backend.port, backend.protocol))


def service_list(ebpf: Ebpf) -> str:
    """``cilium-dbg service list``."""
    rows = [("ID", "Frontend", "Service Type", "Backend")]
    for at, service in sorted(ebpf.services.items(), key=lambda item: item[1].id):
        cells = _backends(ebpf, at, service.active + service.inactive)
        rows.append((str(service.id), str(at), service.type, cells[0] if cells else ""))
        rows += [("", "", "", cell) for cell in cells[1:]]
    return _table(rows)


def _backends(ebpf: Ebpf, at: Frontend, count: int) -> list[str]:
    cells = []
    for slot in range(1, count + 1):
        backend = ebpf.backends.get(ebpf.slots.get((at, slot), 0))
        if backend is not None:
            cells.append(f"{slot} => {_text(backend)} ({backend.state})")
    return cells


def lb_list(ebpf: Ebpf) -> str:
    """``cilium-dbg bpf lb list``."""
    rows = [("SERVICE ADDRESS", "BACKEND ADDRESS (REVNAT_ID) (SLOT)")]
    for at, service in sorted(ebpf.services.items()):
        flags = f"[{', '.join(service.flags)}]"
        rows.append((f"{at} (0)", f"0.0.0.0:0 ({service.id}) (0) {flags}"))
        for slot in range(1, service.active + service.inactive + 1):
            backend = ebpf.backends.get(ebpf.slots.get((at, slot), 0))
            if backend is not None:
                rows.append((f"{at} ({slot})", f"{_text(backend)} ({service.id}) ({slot})"))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    made = ["   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "".join(f"{line.rstrip()}\n" for line in made)
