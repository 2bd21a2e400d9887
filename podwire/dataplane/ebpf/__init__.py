"""Cilium's eBPF service datapath as a model: typed maps, and programs of ours at its hook points.

A program is not bytecode: it is one of ours, named as Cilium's, that does what its namesake does
to the same maps. East-west traffic is translated at ``connect()`` and ``sendmsg()`` (``sock``),
north-south traffic at the tc hooks of devices (``netdev``); maps change by commands (``text``).

    maps  text  show     the maps; their lines as Cilium's own tests print them; cilium-dbg's tables
    maglev  murmur3      consistent choice of backends
    lookup  sock  netdev frontends and backends; the cgroup programs; the tc programs

Not modelled: DSR to a backend on another node, local redirect policies, L7 load balancing, NAT46,
ICMP errors about translated flows, wildcard entries (``/ANY``) that drop unknown ports.
Sources: cilium/cilium bpf/bpf_sock.c, bpf/lib/{lb,nodeport}.h, pkg/maglev, pkg/loadbalancer.
"""
