"""Services as nftables: verdict maps that lead to chains of endpoints, drawn by ``numgen``.

Held to Kubernetes' pkg/proxy/nftables: to proxier_test.go at commit
81810de635aa13aa0a32992f6def3aa9d6025ebc (chains, rules, elements, and base chains at priorities
-110, -100, 0 and 100), and to proxier.go of v1.33 (commit
b0f823e6ccd8a10b3893fc75011b9981af39285c) for the order of a transaction.
"""
