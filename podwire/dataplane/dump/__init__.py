"""A real machine's network, as its own tools tell of it, made into a kernel of the model.

    text      sections of a dump, the file that holds them, errors that name file, line and column
    devices   ``ip addr``, ``ip link``: plain, ``-d`` or JSON
    routes    ``ip route``, ``ip rule``
    lists     ``ip neigh``, ``bridge fdb``, ``sysctl``, ``conntrack -L``, ``ss``
    tables    ``iptables-save``, ``nft list ruleset``, ``ipset save``, ``ipvsadm-save``
    load      all of them into one kernel; the script that captures them

A text that does not parse is refused whole. What parses and is not modelled loads, prints as it
was told, and makes the fate of a packet that meets it UNKNOWN: a match, a target, a statement, a
route's attribute, a rule's selector, a kind of device. What a dump does not tell is never made up:
a device whose far side is not in it is where a packet leaves (``link.Beyond``, ``outside``), and
what had to be assumed (no ``sysctl``: forwarding is on) stands in ``Loaded.notes``.

Sources: iproute2 6.1 (ip/ipaddress.c, iproute.c, iprule.c, ipneigh.c, bridge/fdb.c), the save
formats of iptables 1.8.9, ipset 7.17 and ipvsadm 1.31, conntrack-tools 1.4.7 (src/conntrack.c).
"""
