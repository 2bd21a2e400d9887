"""Services as nftables: verdict maps that lead to chains of endpoints, drawn by ``numgen``.

Held to Kubernetes' pkg/proxy/nftables at commit 81810de635aa13aa0a32992f6def3aa9d6025ebc (the layout
of base chains since v1.34; proxier_test.go has the expected rules) and to v1.33's proxier.go
(commit b0f823e6ccd8a10b3893fc75011b9981af39285c) for the order of a transaction.
"""
