"""What a kernel and a wire do to a packet, as a deterministic state machine.

Commands in, verdicts out. It knows no Kubernetes object: only what CNI, kube-proxy and policy
agents programmed into it. Pure: time comes as an argument, chance from a ports.Rng.

The files, from the outside in::

    commands  verdict  packet  emit     what others say and hear
    cost                                what a real kernel would have spent, told with the steps
    world     walk     journey          all kernels and wires; walking a packet on a fork
    log                                 all that was done to a world, and the world again at a point
    dump/     outside                   kernels from dumps of real machines; what lies around them
    kernel    execute  tools/           one node: packets in and out, commands, command lines
    paths/                              ways that packets took, kept for the next of their kind
    run       skb                       one call into a kernel; a packet with what is noted about it
    stack/                              what packets go through: l2 bridge arp ndp ip icmp, tunnels
                                        (vxlan tunnel), ipvs
    netfilter/                          iptables text parsed, printed, compiled; all hooks; NAT
    nft/  ipset/  ipvs/  ebpf/          the text and state of each; what their chains, sets, virtual
                                        servers and programs do to a packet
    netns     link fib neigh conntrack sockets sysctl qdisc     the state of one namespace
    family    addr  netdb               what differs between IPv4 and IPv6; addresses; names

One namespace has both families: ``Netns.fib`` and ``fib6``, ``netfilter`` and ``netfilter6`` (ask
``fib_of(address)``, ``netfilter_of(address)``), one ``nft`` with tables of both, one ``ipvs``, one
conntrack, one table of neighbours. Who sees a packet where is one list: ``netfilter.hooks.stages``.

Not modelled: fragments (a packet without DF passes whole), TCP windows in conntrack, ICMP rate
limits and redirects, learned path MTUs that expire, multicast beyond neighbour discovery, router
discovery, duplicate address detection, NDP proxies, IPv6 zones (``fe80::1%eth0``) and extension
headers, VLANs, queueing disciplines other than netem, WireGuard's handshake, Geneve options, IPsec,
IPv4's multicast groups (every host is in all), a route's advmss, some parameters (``sysctl`` names
them). Unknown iptables matches and targets load and print; a packet that meets one ends UNKNOWN.
What of nft, ipset, IPVS and eBPF is not modelled stands at the top of each.

Held against a kernel (tests/system): both families' forwarding, NAT, tunnels by VXLAN, rules and
tables, ARP's manners, reverse path filters, nftables and ipset, and what the tools print of them;
in random clusters (tests/oracle) also kube-proxy's rules and policies. Held against sources only,
for no kernel at hand has them: IPIP, Geneve, WireGuard, SCTP, netem, IPVS, Cilium's programs.
"""
