"""The flannel agent: one per node, gives the node its subnet and a path to every other subnet.

Runs as a pod; reads Nodes, annotates its own, and commands its own node's kernel only.
"""
