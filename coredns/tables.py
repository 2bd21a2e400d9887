"""CoreDNS's records as the table people know: one line per record, as a zone file."""

from __future__ import annotations

from podwire.client import dnstext
from podwire.client.dnswire import AAAA, CNAME, SRV, A
from podwire.coredns import core
from podwire.coredns.core import Zone
from podwire.coredns.records import Records


def zone_file(records: Records, zone: Zone) -> str:
    """Every Service's records in a zone, by namespace and name; endpoints below their Service."""
    lines: list[str] = []
    for namespace, name in sorted(records.services):
        base = f"{name}.{namespace}.svc.{zone.name}"
        owners = [base]
        addresses = records.endpoints((namespace, name))
        owners += [
            f"{hostname}.{base}" for hostname in dict.fromkeys(a.hostname for a in addresses)
        ]
        for owner in owners:
            lines += _lines(records, zone, owner)
    return "".join(f"{line}\n" for line in lines)


def _lines(records: Records, zone: Zone, owner: str) -> list[str]:
    seen: dict[str, None] = {}
    for kind in (A, AAAA, CNAME, SRV):
        for rr in core.answer(records, zone, owner, kind).answer:
            if rr.name == owner:
                text = f"{rr.name}\t{rr.ttl}\tIN\t{dnstext.type_name(rr.type)}"
                seen[f"{text}\t{dnstext.data_text(rr)}"] = None
    return list(seen)
