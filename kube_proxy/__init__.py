"""Services and EndpointSlices in, the node's service rules out.

Runs as a pod; talks to the API and commands its own node's kernel only.
"""
