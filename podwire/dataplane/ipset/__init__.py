"""ipset: named sets of addresses, ports, networks and devices that iptables rules look into.

State lives in ``Netns.ipsets``; the text of ``ipset restore`` and command lines change it
(``change``), ``-m set`` and ``-j SET`` ask and fill it (``lookup``). Words, errors and printing are
those of ipset 7.17, held against the real tool in a namespace (``tests/system``).

Not modelled: types with MAC addresses, skbinfo, growing hash tables (``hashsize`` stays, "Size in
memory" is an estimate), the order of members (ours: as added). Restore is all or nothing here;
the real tool leaves what came before the faulty line.
"""
