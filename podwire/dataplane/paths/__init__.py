"""Paths that packets took, kept so that the next packet of their kind need not be reasoned anew.

What a kernel does between a packet's entry and its emits depends on entry, headers, state and
draws. A packet on the plain road has a ``notes.Notes`` along, which writes down what mattered. Of
that come two caches, as Open vSwitch has them::

    flow    a packet of known connections, by all its headers: what it found, what it caused
    kind    a first packet, by all but its source port: a tree of lookups and draws, leaves with
            what was made; a leaf counts once two packets have told the same

The plain road (``stack``) stays the judge: nothing here decides anything. What the notes cannot
vouch for (NAT by chance, ``recent``, nft, IPVS, eBPF, netem, drops, ICMP) is not kept. Every
command and every change of neighbours, bridges or paths' MTUs forgets all paths; the caches may be
emptied at any time and nothing that can be seen changes (property tests hold both roads together).
What a packet cost (``cost``) is told with its steps, and kept with them.

Whoever adds something to the plain road: what decides by a source port, by time, by memory or by
chance of its own calls ``run.unfit()``; what changes state that other packets' ways depend on calls
``run.stir()``.
"""
