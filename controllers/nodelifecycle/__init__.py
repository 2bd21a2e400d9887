"""Node lifecycle: notices silent nodes, taints them, and evicts pods that do not tolerate it."""
