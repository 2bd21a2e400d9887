"""Services and EndpointSlices in, the node's service rules out, as real iptables-restore text.

Runs as a pod (``host``); talks to the API and commands its own node's kernel only. It decides
nothing about packets: what a packet meets is what the text says.
"""
