"""The revisioned key-value model of etcd: revisions, ranges, transactions, watches, compaction.

Only the API server (and sim, which composes) may call it; it knows no Kubernetes object.
"""
