"""Services as iptables rules: chains of NAT rules, drawn by ``statistic``.

Held to Kubernetes v1.30.5's pkg/proxy/iptables (rules, names, order), to the conntrack reconciler
of v1.33 and to the topology hints of v1.34.
"""
