"""Where our text differs from the real tools' on purpose, and why."""

from __future__ import annotations

_CARD = "a node's eth0 is a network card; in the capture it is one end of a veth"
_IPERF = "retransmissions and the congestion window are not told by sockets"
_CURL = "ours has the words of curl 8.14, which current images have; the capture's is 7.88"
_NC = "Debian builds busybox without nc -z; the image has it"

DIFFERENCES: dict[str, dict[str, str]] = {
    "capture": {
        "timeout 2 tcpdump -n -i eth0 tcp port 80 & sleep 1; curl -s http://10.244.2.2/ >/dev/null;"
        " wait": "TCP's timestamps, window scales and delayed ACKs are not modelled",
    },
    "files": {"frobnicate; echo $?": "ours does not tell the lines of scripts"},
    "http": {
        "curl -sv http://web.example.com/": _CURL,
        "curl -sS http://refused.example.com:81/": _CURL,
        "curl -sS --connect-timeout 1 http://10.96.9.8/": _CURL,
        "curl -sv http://refused.example.com:81/": _CURL,
        "curl -sv --connect-timeout 1 http://10.96.9.8/": _CURL,
        "curl -sS http://10.96.9.9/": _CURL,
        "curl -sv --resolve a.b:80:10.244.2.2 http://a.b/": _CURL,
        "curl -sv -H 'Host: x' -H 'X-Y: z' http://10.244.2.2/": _CURL,
        "curl -sv -d a=b http://10.244.2.2/": _CURL,
        "curl": _CURL,
        "curl -sS ftp:": _CURL,
        "curl -sS http://10.244.2.2:99999/": _CURL,
        "curl -sv http://nope.example.com/": _CURL,
        "wget -T 1 -O - http://10.96.9.8/": "Debian's static busybox crashes",
        "nc -z -w 1 10.244.2.2 80": _NC,
        "nc -zv 10.244.2.2 80": _NC,
        "nc -zv 10.244.2.2 81": _NC,
    },
    "iperf": {
        "iperf3 -c 10.244.2.2 -t 2": _IPERF,
        "iperf3 -c 10.244.2.2 -t 1 -R": _IPERF,
        "iperf3 -c 10.244.2.2 -t 1 -P 2": _IPERF,
        "iperf3 -c 10.244.2.2 -u -t 1 -b 1M": "UDP is not modelled, and ours says so",
    },
    "ip": {
        "ip -s neigh": "what a neighbour's entry counts is not modelled, and ours says so",
        "ip -br link": _CARD,
        "bridge fdb show br cni0": "multicast groups of bridges are not modelled",
    },
    "netfilter": {
        "iptables-save -t nat": "a modelled kernel has no calendar",
        "nft list tables": "the rules of iptables are kept apart from those of nft",
    },
    "sockets": {
        "netstat -an": "sockets of the UNIX domain are not modelled",
    },
}
"""Family -> command -> reason."""
