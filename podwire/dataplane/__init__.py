"""What a kernel and a wire do to a packet, as a deterministic state machine.

Commands in, verdicts out. It knows no Kubernetes object: only what CNI, kube-proxy and policy
agents programmed into it. Pure: time comes as an argument, chance from a ports.Rng.

The files, from the outside in::

    commands  verdict  packet  emit     what others say and hear
    world     walk     journey          all kernels and wires; walking a packet on a fork
    kernel    execute  tools/           one node: packets in and out, commands, command lines
    stack/                              l2, bridge, arp, ipv4, icmp, vxlan: what packets go through
    netfilter/                          rule text parsed, printed, compiled, interpreted; hooks, NAT
    netns     link fib neigh conntrack sockets sysctl      the state of one namespace

Not modelled: IPv6, fragments (a packet without DF passes whole), TCP windows in conntrack, ICMP
rate limits, multicast, VLANs, traffic control, IPsec. Unknown iptables matches and targets load
and print; a packet that meets one ends UNKNOWN.
"""
