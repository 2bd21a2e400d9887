"""IPVS: virtual servers that the kernel spreads over real servers.

``ipvsadm`` text changes the state (``change``), the hooks LOCAL_IN, LOCAL_OUT and FORWARD let
packets meet it (``stack.ipvs``), schedulers are functions over a service's real servers and its own
memory (``schedulers``). Nothing here draws: the next real server follows from state, as in the
kernel; a walk enumerates the others as branches (``Chance.pick``).

No kernel of ours can judge IPVS (most are built without it). It is written after the sources of
Linux' net/netfilter/ipvs, and held against tables worked out from them and upstream kube-proxy's.

Not modelled: tunnelling (ipip) to real servers, the FTP helper, persistence engines, connection
synchronisation between directors, drop_entry and secure_tcp defences, schedule_icmp, cache_bypass;
SCTP associations count as TCP connections do, by their first and last packets.
"""
