#!/bin/sh
# How the dumps in this folder were made (root; iproute2 6.1.0, iptables 1.8.9, nft 1.0.6, a kernel
# 6.18 with VXLAN and br_netfilter): real tools in network namespaces, which are gone afterwards.
#   sh tests/data/nodes/capture.sh     from the root of the repository
# Values that change with every run (MACs, times, counters) may differ; nothing else does.
set -e
here=tests/data/nodes python=.venv/bin/python n=pwload$$
$python -m podwire load script > "$here/script.tmp"
for name in a b c; do ip netns add $n-$name; done
trap 'for name in a b c; do ip netns del $n-$name; done; rm -f "$here/script.tmp"' EXIT

I="ip -n $n-a" X="ip netns exec $n-a"
$I link set lo up
$I link add eth0 address 02:00:00:00:00:05 type veth peer name p0 netns $n-b
ip -n $n-b link set p0 up
$I link set eth0 up
$I addr add 10.0.0.5/24 brd + dev eth0
$I addr add fd00::5/64 dev eth0 nodad
$I route add default via 10.0.0.1
$I -6 route add default via fd00::1 dev eth0
$I link add cni0 address 02:00:00:00:01:01 type bridge
$I addr add 10.244.1.1/24 dev cni0
$I link set cni0 up
$I link add veth1 address 02:00:00:00:01:02 type veth peer name eth0 netns $n-c
$I link set veth1 master cni0 up
$I link set veth1 type bridge_slave hairpin on
ip -n $n-c link set eth0 address 02:00:00:00:01:03 up
$I link add flannel.1 address 02:00:00:00:01:04 type vxlan id 1 local 10.0.0.5 dev eth0 \
  dstport 8472 nolearning
$I addr add 10.244.1.0/32 dev flannel.1
$I link set flannel.1 up
$I route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
$I neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
bridge -n $n-a fdb append 02:00:00:00:00:02 dev flannel.1 dst 10.0.0.6 self permanent
$I neigh add 10.244.1.4 lladdr 02:00:00:00:01:03 dev cni0 nud reachable
$I neigh add 10.0.0.66 dev eth0 nud failed
$I rule add from 10.0.97.31 lookup 2 pref 1536
$I rule add to 10.0.97.31 lookup main pref 512
$I rule add fwmark 0x80/0x80 lookup main pref 1024
$I rule add from 10.244.9.0/24 uidrange 1000-2000 lookup 2 pref 2000
$I -6 rule add fwmark 0x1 lookup 100 pref 50
$I route add default via 10.0.0.254 dev eth0 table 2
$I route add blackhole 10.99.0.0/16
$I route add 10.98.0.0/16 nexthop via 10.0.0.2 weight 1 nexthop via 10.0.0.3 weight 2
$I route add 10.97.0.0/16 via 10.0.0.1 mtu lock 1400 initcwnd 10
$I route add unreachable 10.96.1.0/24 metric 50
$I route add 10.97.1.0/24 tos 0x10 via 10.0.0.1
$I tuntap add tun9 mode tun
$I link set tun9 up
$I addr add 10.8.0.1 peer 10.8.0.2/32 dev tun9
$I link add mv0 address 02:00:00:00:01:05 link eth0 type macvlan mode bridge
$X sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
$X ipset create blocked hash:net
$X ipset add blocked 192.0.2.0/24
$X iptables-nft-restore <<RULES
*nat
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -m comment --comment "default/kubernetes:https" -j DNAT --to-destination 10.0.0.7:6443
COMMIT
*filter
-A FORWARD -m set --match-set blocked src -j DROP
-A FORWARD -p tcp -m tcp --dport 8081 -m time --timestart 01:00 --timestop 02:00 -j DROP
-A FORWARD -p tcp -m tcp --dport 8082 -m limit --limit 5/min -j NFLOG --nflog-prefix "slow: " --nflog-group 2
-A FORWARD -p tcp -m tcp --dport 8083 -j REJECT --reject-with tcp-reset
COMMIT
RULES
$X nft -f - <<RULES
table inet fw {
  set admins {
    type ipv4_addr
    flags interval
    elements = { 10.1.0.0/16, 10.3.0.5 }
  }
  chain forward {
    type filter hook forward priority filter + 5; policy accept;
    ip saddr @admins tcp dport 22 counter accept
    tcp dport 22 counter reject with tcp reset
    tcp dport 8085 tcp option maxseg size set rt mtu
  }
}
table netdev guard {
  chain ingress {
    type filter hook ingress device mv0 priority 0; policy accept;
    ip saddr 1.2.3.4 drop
  }
}
RULES
$X sh "$here/script.tmp" odd | $python "$here/trim.py" > "$here/odd.dump"
for mode in iptables nftables; do
  $python -m tests.oracle.dumped --seeds 1 --first 4 --mode $mode --keep "$here"
  for name in node-1 node-2; do
    $python "$here/trim.py" < "$here/$mode-4-$name.dump" > "$here/$mode-$name.dump"
  done
  rm "$here/$mode"-4-*.dump
done
