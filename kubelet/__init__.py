"""One kubelet per node: pod lifecycle, probes, modelled programs, exec and logs, node status.

Talks to the API, and at counters to CNI, fabric, sockets and container hosts.

Where to start reading: ``daemon.run`` is one kubelet; ``worker.PodWorker`` is the life of one pod
and ``termination`` its end; ``core`` decides and ``podstatus`` tells, both without I/O;
``streams`` is what the API server asks for. ``shell/`` is the mini-shell inside containers, not
this room's I/O (that is ``daemon``).
"""
