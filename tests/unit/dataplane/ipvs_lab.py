"""A laboratory with virtual servers: kube-ipvs0, a ClusterIP, masquerading by mark."""

from podwire.dataplane import commands as c
from podwire.dataplane.packet import ACK, FIN, SYN, Packet
from tests.unit.dataplane.lab import Lab

VIP = "10.96.0.10"
A1, B1, A2, B2 = (f"10.244.{n}.{k}" for n in (1, 2) for k in (2, 3))
MASQUERADE = (
    "*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-SERVICES - [0:0]\n"
    "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"
    "-A POSTROUTING -j KUBE-POSTROUTING\n"
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n"
    "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst ! -s 10.244.0.0/16 "
    "-j KUBE-MARK-MASQ\n"
    "-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE\n"
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
    "-A KUBE-POSTROUTING -j MASQUERADE\nCOMMIT\n"
)


class IpvsLab(Lab):
    """Two nodes whose service address is a virtual server, as kube-proxy sets one up."""

    def __init__(self, scheduler="rr", flags="", servers=(A1, B1, A2), proto="tcp", **extra):
        super().__init__(**extra)
        option = {"tcp": "-t", "udp": "-u"}[proto]
        lines = [f"-A {option} {VIP}:80 -s {scheduler} {flags}"]
        lines += [f"-a {option} {VIP}:80 -r {ip}:8080 -m -w 1" for ip in servers]
        for i in (1, 2):
            node = f"node-{i}"
            loops = "".join(
                f"add KUBE-LOOP-BACK {ip},{proto}:8080,{ip}\n"
                for ip in servers
                if ip.startswith(f"10.244.{i}.")
            )
            self.run(
                node,
                c.SysctlSet(key="net.ipv4.vs.conntrack", value="1"),
                c.SysctlSet(key="net.ipv4.vs.expire_nodest_conn", value="1"),
                c.SysctlSet(key="net.ipv4.vs.expire_quiescent_template", value="1"),
                c.LinkAdd(name="kube-ipvs0", kind="dummy"),
                c.AddrAdd(dev="kube-ipvs0", cidr=f"{VIP}/32"),
                c.IpsetRestore(
                    text="create KUBE-CLUSTER-IP hash:ip,port\n"
                    "create KUBE-LOOP-BACK hash:ip,port,ip\n"
                    f"add KUBE-CLUSTER-IP {VIP},{proto}:80\n{loops}"
                ),
                c.IpvsRestore(text="\n".join(lines)),
                c.RulesRestore(text=MASQUERADE),
            )
            for letter in "ab":
                self.listen(node, f"{letter}{i}", 8080, proto)

    def ipvsadm(self, node, *argv, stdin=""):
        out, err, code = self.world.kernels[node].tool("", ["ipvsadm", *argv], stdin, self.now)
        assert code == 0, err
        return out

    def apply(self, node, *lines):
        self.run(node, c.IpvsRestore(text="\n".join(lines)))


def tcp(src, dst, flags, sport=40000, dport=80):
    return Packet(src, dst, "tcp", sport, dport, tcp_flags=flags)


HANDSHAKE = (SYN, ACK)
CLOSING = FIN | ACK
