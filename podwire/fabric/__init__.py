"""The process that holds the cluster's hardware: kernels, disks, wires, sockets, publications.

It executes commands and carries packets; it knows no Kubernetes object.
"""
