"""Services and EndpointSlices in, the state of the node's kernel that serves them out.

Runs as a pod (``host``); talks to the API and commands its own node's kernel only. It decides
nothing about packets: what a packet meets is what the commands say, as real text of real tools.

    shell  core  model     life, tables of one family, Services and endpoints as upstream sees them
    mode   modes/          what a proxy mode is; iptables and the others, one folder each
    config conntrack       KubeProxyConfiguration; UDP flows that point nowhere
    health healthcheck metrics runner       ports, figures, when a sync runs
    family known group lineup               one family on one node; what many of a process do once
"""
