"""Writes ``captured/*.txt`` anew: the real tools in network namespaces (root; nothing is left).

Everything happens in mount and network namespaces of this process's own; they end with it.
``python -m tests.goldens.capture [FAMILY...]``
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from podwire.coredns.upstream import Upstream
from tests.goldens.sessions import (
    CAPTURED,
    GATEWAY,
    NODES,
    PODS,
    RESOLV_CONF,
    RULES,
    WARM,
    ZONE,
    Line,
    Session,
    families,
    sessions,
)
from tests.waiting import until

NEEDED = (
    "ip", "bridge", "ss", "iptables", "nft", "ipset", "conntrack", "curl", "dig", "nslookup",
    "host", "ping", "traceroute", "tracepath", "mtr", "netstat", "ethtool", "tcpdump", "iperf3",
    "nc", "busybox", "nginx", "wget",
)  # fmt: skip
LIMIT_S = 60


def sh(text: str, ns: str = "") -> None:
    """Run a line, in a namespace; a failure ends the capture."""
    words = ["ip", "netns", "exec", ns, "sh", "-c", text] if ns else ["sh", "-c", text]
    subprocess.run(words, check=True)


def _lan() -> None:
    sh("ip netns add lan; ip -n lan link add br0 type bridge; ip -n lan link set br0 up")
    for i, (name, address) in enumerate({"gateway": GATEWAY, **NODES}.items()):
        sh(f"ip netns add {name}; ip -n lan link add p{i} type veth peer name eth0 netns {name}")
        sh(f"ip -n lan link set p{i} master br0 up; ip -n {name} link set lo up")
        sh(f"ip -n {name} link set eth0 up; ip -n {name} addr add {address}/24 dev eth0")
        sh("sysctl -qw net.ipv4.ip_forward=1", name)
    sh("ip -n gateway route add unreachable 10.0.0.0/8")
    sh("ip -n gateway route add 10.244.1.0/24 via 192.168.0.11")
    sh("ip -n gateway route add 10.244.2.0/24 via 192.168.0.12")


def _node(i: int) -> None:
    node, pod, j = f"node-{i}", "pod-a" if i == 1 else "pod-b", 3 - i
    ip = f"ip -n {node}"
    sh(f"{ip} route add default via {GATEWAY}")
    sh(f"{ip} link add cni0 mtu 1450 type bridge; {ip} link set cni0 up")
    sh(f"{ip} addr add 10.244.{i}.1/24 dev cni0")
    sh(
        f"{ip} link add flannel.1 address 02:00:00:00:0{i}:01 type vxlan id 1 dstport 8472 "
        f"local {NODES[node]} dev eth0 nolearning; {ip} link set flannel.1 up; "
        f"{ip} addr add 10.244.{i}.0/32 dev flannel.1"
    )
    sh(f"{ip} route add 10.244.{j}.0/24 via 10.244.{j}.0 dev flannel.1 onlink")
    sh(f"{ip} neigh add 10.244.{j}.0 dev flannel.1 lladdr 02:00:00:00:0{j}:01 nud permanent")
    sh(f"bridge -n {node} fdb add 02:00:00:00:0{j}:01 dev flannel.1 dst {NODES[f'node-{j}']}")
    sh(f"ip netns add {pod}")
    sh(f"{ip} link add veth1 mtu 1450 type veth peer name eth0 mtu 1450 netns {pod}")
    sh(f"{ip} link set veth1 master cni0 up; ip -n {pod} link set lo up")
    sh(f"ip -n {pod} link set eth0 up; ip -n {pod} addr add {PODS[pod]}/24 dev eth0")
    sh(f"ip -n {pod} route add default via 10.244.{i}.1")


def build(rules: str) -> None:
    """The network of ``sessions.py``."""
    for where in ("/run/netns", "/etc/netns"):
        sh(f"mkdir -p {where}; mount -t tmpfs none {where}")
    _lan()
    for i in (1, 2):
        _node(i)
    for ns in (*PODS, *NODES, "gateway"):
        sh("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000", ns)
    for ns in (*PODS, *NODES):
        folder = Path("/etc/netns") / ns
        folder.mkdir()
        (folder / "resolv.conf").write_text(RESOLV_CONF)
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        (folder / "nsswitch.conf").write_text("hosts: files dns\nservices: files\n")
    subprocess.run(
        ["ip", "netns", "exec", "node-1", "iptables-restore"], input=rules, text=True, check=True
    )


def serve_dns() -> None:
    """The resolver of the zone on the gateway (this runs in a process of its own)."""
    upstream = Upstream(ZONE)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((GATEWAY, 53))
    tcp = socket.create_server((GATEWAY, 53))
    while True:
        for one in select.select([udp, tcp], [], [])[0]:
            if one is udp:
                data, peer = udp.recvfrom(4096)
                udp.sendto(upstream.answer(data), peer)
                continue
            with tcp.accept()[0] as stream:
                size = int.from_bytes(stream.recv(2), "big")
                reply = upstream.answer(stream.recv(size), 65535)
                stream.sendall(len(reply).to_bytes(2, "big") + reply)


def serve_web(folder: Path) -> None:
    """Real nginx and iperf3 in pod-b."""
    (folder / "index.html").write_text("hello from nginx\n")
    conf = folder / "nginx.conf"
    conf.write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{}} http {{ access_log off; types {{ text/html html; }} "
        f"server {{ listen [::]:80 ipv6only=off; root {folder}; }} }}\n"
    )
    sh(f"nginx -c {conf}", "pod-b")
    subprocess.Popen(["ip", "netns", "exec", "pod-b", "iperf3", "-s"], stdout=subprocess.DEVNULL)


def typed(line: Line) -> Session:
    """Type a line."""
    text = f"busybox {line.text}" if line.busybox else line.text
    if line.where in PODS:
        text = f"umount -l /run/netns; {text}"  # a pod does not know the names of namespaces
    done = subprocess.run(
        ["timeout", str(LIMIT_S), "ip", "netns", "exec", line.where, "sh", "-c", text],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )  # fmt: skip
    end = "" if done.stdout.endswith("\n") or not done.stdout else "\n"
    return Session(line, done.stdout + end, done.returncode)


def _listens(where: str, port: int) -> bool:
    argv = ["ip", "netns", "exec", where, "ss", "-Htln", f"sport = :{port}"]
    return bool(subprocess.run(argv, capture_output=True, check=True).stdout)


def capture(family: str) -> None:
    """Type one family in a new network; this process is in namespaces of its own."""
    sh("mount -t proc proc /proc; hostname web-1")
    build(RULES)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        dns = [sys.executable, "-m", "tests.goldens.capture", "--dns"]
        subprocess.Popen(["ip", "netns", "exec", "gateway", *dns])
        serve_web(Path(folder))
        for where, port in (("gateway", 53), ("pod-b", 80), ("pod-b", 5201)):
            until(f"port {port} of {where} is open", partial(_listens, where, port))
        sh(WARM, "pod-a")
        anew = [typed(session.line) for session in sessions(family)]
    (CAPTURED / f"{family}.txt").write_text("".join(map(str, anew)))
    sys.stdout.write(f"{family}: {len(anew)} commands\n")


def main(wanted: list[str]) -> None:
    """Capture each family in a process of its own, which ends with all that it made."""
    if wanted == ["--dns"]:
        serve_dns()
    if wanted[:1] == ["--inside"]:
        capture(wanted[1])
        return
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {' '.join(missing)}")
    alone = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child"]
    for family in wanted or families():
        again = [sys.executable, "-m", "tests.goldens.capture", "--inside", family]
        subprocess.run([*alone, *again], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
