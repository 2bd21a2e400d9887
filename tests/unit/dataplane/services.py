"""kube-proxy's rules for a few Services, as text (reference A4), for the laboratory's nodes."""

from podwire.dataplane import commands as c

HEADER = """*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -j KUBE-FORWARD
{filter}-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
"""
TAIL = "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n"


def service(name, ip, port, backends, *, proto="tcp", node_port=0, affinity=0, local=None):
    """(filter rules, nat rules) of one Service; ``local`` backends: eTP Local."""
    match = f"-p {proto} -m {proto} -d {ip} --dport {port}"
    if not backends:
        comment = f'-m comment --comment "default/{name} has no endpoints"'
        rules = f"-A KUBE-SERVICES {comment} {match} -j REJECT\n"
        if node_port:
            rules += (
                f"-A KUBE-EXTERNAL-SERVICES {comment} -m addrtype --dst-type LOCAL "
                f"-p {proto} -m {proto} --dport {node_port} -j REJECT\n"
            )
        return rules, ""
    up = name.upper()
    lines = [f":KUBE-SVC-{up} - [0:0]", f"-A KUBE-SERVICES {match} -j KUBE-SVC-{up}"]
    lines += [f"-A KUBE-SVC-{up} {match} ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ"]
    target = f"KUBE-SVC-{up}"
    if node_port:
        lines += [f":KUBE-EXT-{up} - [0:0]"]
        node = f"-p {proto} -m {proto} --dport {node_port}"
        lines += [f"-A KUBE-NODEPORTS {node} -j KUBE-EXT-{up}"]
        if local is None:
            lines += [f"-A KUBE-EXT-{up} -j KUBE-MARK-MASQ", f"-A KUBE-EXT-{up} -j {target}"]
        else:
            lines += [
                f"-A KUBE-EXT-{up} -s 10.244.0.0/16 -j {target}",
                f"-A KUBE-EXT-{up} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
                f"-A KUBE-EXT-{up} -m addrtype --src-type LOCAL -j {target}",
            ]
    lines += _endpoints(up, target, backends, proto, affinity)
    filter_rules = ""
    if local:
        lines += [f":KUBE-SVL-{up} - [0:0]", f"-A KUBE-EXT-{up} -j KUBE-SVL-{up}"]
        for i, backend in enumerate(local):
            p = f"-m statistic --mode random --probability {1 / (len(local) - i):.10f} "
            sep = f"KUBE-SEP-{up}-{backends.index(backend)}"
            lines += [f"-A KUBE-SVL-{up} {p if i < len(local) - 1 else ''}-j {sep}"]
    elif local is not None:
        filter_rules = (
            f'-A KUBE-EXTERNAL-SERVICES -m comment --comment "default/{name} has no local '
            f'endpoints" -m addrtype --dst-type LOCAL -p {proto} -m {proto} --dport {node_port} '
            "-j DROP\n"
        )
    return filter_rules, "".join(line + "\n" for line in lines)


def _endpoints(up, chain, backends, proto, affinity):
    lines = []
    for i in range(len(backends)):
        lines += [f":KUBE-SEP-{up}-{i} - [0:0]"]
    if affinity:
        for i in range(len(backends)):
            name = f"KUBE-SEP-{up}-{i}"
            recent = f"-m recent --name {name} --rcheck --seconds {affinity} --reap"
            lines += [f"-A {chain} {recent} -j {name}"]
    for i, (ip, port) in enumerate(backends):
        left = len(backends) - i
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        name = f"KUBE-SEP-{up}-{i}"
        lines += [f"-A {chain} {chance}-j {name}", f"-A {name} -s {ip} -j KUBE-MARK-MASQ"]
        recent = f"-m recent --name {name} --set " if affinity else ""
        end = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        lines += [f"-A {name} {recent}-p {proto} -m {proto} -j DNAT --to-destination {end}"]
    return lines


def ruleset(*services):
    """The whole restore text."""
    rules = "".join(f for f, _ in services)
    return HEADER.format(filter=rules) + "".join(n for _, n in services) + TAIL


def load6(lab, *services):
    """Load IPv6 Services into every node: pods are fd00:244::/32."""
    text = ruleset(*services).replace("10.244.0.0/16", "fd00:244::/32")
    for i in range(1, lab.nodes + 1):
        lab.run(f"node-{i}", c.RulesRestore(text=text, family="ipv6"))


def load(lab, *services):
    """Load the same Services into every node of a laboratory."""
    for i in range(1, lab.nodes + 1):
        lab.run(f"node-{i}", c.RulesRestore(text=ruleset(*services)))
        lab.run(f"node-{i}", c.SysctlSet(key="net.ipv4.conf.all.route_localnet", value="1"))
