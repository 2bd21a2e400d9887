"""Pod garbage collector: removes pods that stand on nodes which no longer exist."""
