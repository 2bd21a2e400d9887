"""The process that holds the cluster's hardware: kernels, disks, wires, sockets, publications.

It executes commands and carries packets; it knows no Kubernetes object. Node agents and kubelets
call it at counters 2 and 3; it calls nobody, save its publisher, which follows Services to know
which doors the outside wants.

- ``hardware``: ``Fabric``, the hosts and every packet's way between kernel, wire and socket
- ``host``, ``disk``, ``commands``: one machine, its files, and looking around on it
- ``wire``: the underlay segment with its delays and faults
- ``sockets``, ``space``, ``streams`` (over the pure ``tcp``), ``udp``, ``icmp``: what programs use
- ``questions``: walks and datagrams on forks
- ``publications``, ``publisher``: doors to real sockets, and who decides which are opened
- ``control_plane``: services of a host itself
- ``tables``: its state as the tables people know
"""
