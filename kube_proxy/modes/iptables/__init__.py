"""Services as iptables rules: chains of NAT rules, drawn by ``statistic``.

Held to Kubernetes v1.33: the rules, names, order and syncs are those that its
pkg/proxy/iptables/proxier_test.go expects (tests/data/proxydumps and proxyflows).
"""
