"""Printing IPVS as ipvsadm 1.31 does: lists, statistics, rates, connections, rules."""

from __future__ import annotations

from collections.abc import Iterable

from podwire.dataplane.addr import mask_int
from podwire.dataplane.ipset.address import family_of, number, text
from podwire.dataplane.ipvs.model import SECOND_NS, Address, Conn, Dest, Key, Service
from podwire.dataplane.ipvs.table import Ipvs

HEAD = "IP Virtual Server version 1.2.1 (size=4096)\n"
FORWARDS = {"masq": "Masq", "gate": "Route", "ipip": "Tunnel", "local": "Local"}
SWITCHES = {"masq": "-m", "gate": "-g", "ipip": "-i"}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
OPTIONS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}


def _order(key: Key) -> tuple[int, int, int, int, int]:
    """As ipvs_cmp_services sorts: marks, family, protocol, address, port."""
    family = family_of(key.ip)
    mark = key.port if key.protocol == "fwm" else 0
    return (
        mark,
        int(family == "inet6"),
        PROTOCOLS.get(key.protocol, 0),
        number(key.ip, family),
        key.port,
    )


def ordered(ipvs: Ipvs, key: Key | None = None) -> list[Service]:
    """The services as they are listed."""
    if key is not None:
        return [ipvs.services[key]] if key in ipvs.services else []
    return [ipvs.services[k] for k in sorted(ipvs.services, key=_order)]


def dests(service: Service) -> list[Dest]:
    """A service's real servers as they are listed."""
    return sorted(service.dests, key=lambda d: (number(d.at.ip, family_of(d.at.ip)), d.at.port))


def _number(value: int, *, exact: bool) -> str:
    """As print_largenum: eight digits, else shortened."""
    if exact:
        return f"{value:>{max(9, len(str(value)) + 1)}}"
    if value < 100_000_000:
        return f"{value:>9}"
    for limit, divisor, unit in (
        (10**9, 10**3, "K"),
        (10**11, 10**6, "M"),
        (10**14, 10**9, "G"),
    ):
        if value < limit:
            return f"{value // divisor:>8}{unit}"
    return f"{value // 10**12:>8}T"


_TITLES = {
    "stats": ("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"),
    "rate": ("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"),
}


def _title(form: str) -> str:
    first = f"{'Prot LocalAddress:Port':<33}"
    if form in _TITLES:
        head = first + "".join(f" {word:>8}" for word in _TITLES[form])
        return f"{head}\n  -> RemoteAddress:Port\n"
    if form == "thresholds":
        head = f"{first} {'Uthreshold':<10} {'Lthreshold':<10} {'ActiveConn':<10} {'InActConn':<10}"
        return f"{head}\n  -> RemoteAddress:Port\n"
    if form == "persistent":
        head = f"{first} {'Weight':<9} {'PersistConn':<11} {'ActiveConn':<10} {'InActConn':<10}"
        return f"{head}\n  -> RemoteAddress:Port\n"
    return (
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
    )


def _mask(service: Service) -> str:
    if not service.netmask:
        return ""
    if ":" in service.key.ip:
        return str(service.netmask)
    return text(mask_int(service.netmask), "inet")


def listing(
    ipvs: Ipvs, now_ns: int, form: str = "", key: Key | None = None, *, exact: bool = False
) -> str:
    """``ipvsadm -Ln [--stats | --rate | --thresholds | --persistent-conn]``. ``form`` is one of
    these words, or "".
    """
    lines = [HEAD, _title(form)]
    for service in ordered(ipvs, key):
        if form in _TITLES:
            values = service.stats.totals if form == "stats" else service.stats.copy().rates(now_ns)
            numbers = "".join(_number(value, exact=exact) for value in values)
            lines.append(f"{service.key!s:<33}{numbers}\n")
        else:
            lines.append(_service_line(service))
        lines += [_dest_line(dest, now_ns, form, exact=exact) for dest in dests(service)]
    return "".join(lines)


def _service_line(service: Service) -> str:
    words = [f"{service.key} {service.scheduler}"]
    if service.flags:
        words.append(f"({','.join(service.flags)})")
    if service.timeout_s:
        words.append(f"persistent {service.timeout_s}")
        if service.netmask:
            words.append(f"mask {_mask(service)}")
    if service.one_packet:
        words.append("ops")
    return " ".join(words) + "\n"


def _dest_line(dest: Dest, now_ns: int, form: str, *, exact: bool) -> str:
    name = f"  -> {dest.at!s:<28}"
    if form in _TITLES:
        values = dest.stats.totals if form == "stats" else dest.stats.copy().rates(now_ns)
        return name + "".join(_number(value, exact=exact) for value in values) + "\n"
    counts = f"{dest.active:<10} {dest.inactive:<10}"
    if form == "thresholds":
        return f"{name} {dest.upper:<10} {dest.lower:<10} {counts}\n"
    if form == "persistent":
        return f"{name} {dest.weight:<9} {dest.persistent:<11} {counts}\n"
    return f"{name} {FORWARDS[dest.forward]:<7} {dest.weight:<6} {counts}\n"


# ---------------------------------------------------------------- rules and connections


def _option(key: Key) -> str:
    if key.protocol == "fwm":
        return f"-f {key.port}{' -6' if key.ip == '::' else ''}"
    return f"{OPTIONS[key.protocol]} {Address(key.ip, key.port)}"


def service_rule(service: Service) -> str:
    """A service as ``ipvsadm -S`` prints it."""
    words = [f"-A {_option(service.key)} -s {service.scheduler}"]
    if service.timeout_s:
        words.append(f"-p {service.timeout_s}")
        if service.netmask:
            words.append(f"-M {_mask(service)}")
    if service.one_packet:
        words.append("-o")
    if service.flags:
        words.append(f"-b {','.join(service.flags)}")
    return " ".join(words)


def save(ipvs: Ipvs) -> str:
    """``ipvsadm -Sn``: text for ``ipvsadm -R``."""
    lines = []
    for service in ordered(ipvs):
        lines.append(f"{service_rule(service)}\n")
        lines += [_dest_rule(service, dest) for dest in dests(service)]
    return "".join(lines)


def _dest_rule(service: Service, dest: Dest) -> str:
    words = f"-a {_option(service.key)} -r {dest.at} {SWITCHES[dest.forward]} -w {dest.weight}"
    if dest.upper:
        words += f" -x {dest.upper}"
    if dest.lower:
        words += f" -y {dest.lower}"
    return words + "\n"


def connections(conns: Iterable[Conn], now_ns: int) -> str:
    """``ipvsadm -Lnc``."""
    lines = [
        "IPVS connection entries\n",
        "pro expire state       source             virtual            destination\n",
    ]
    for conn in conns:
        protocol, client, port, virtual, vport = conn.key
        left = max(0, (conn.expires_ns - now_ns) // SECOND_NS)
        expire = f"{left // 60:02}:{left % 60:02}"
        source, at = Address(client, port), Address(virtual, vport)
        name = "IP" if protocol == "fwm" else protocol.upper()
        lines.append(
            f"{name:<3} {expire:<6} {conn.state:<11} {source!s:<18} {at!s:<18} {conn.to}\n"
        )
    return "".join(lines)


def timeouts(ipvs: Ipvs) -> str:
    """``ipvsadm -Ln --timeout``."""
    set_to = ipvs.timeouts
    return f"Timeout (tcp tcpfin udp): {set_to.tcp_s} {set_to.tcp_fin_s} {set_to.udp_s}\n"
