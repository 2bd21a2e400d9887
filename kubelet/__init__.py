"""One kubelet per node: pod lifecycle, probes, modelled programs, exec and logs, node status.

Talks to the API, and at counters to CNI, fabric, sockets and container hosts.
"""
