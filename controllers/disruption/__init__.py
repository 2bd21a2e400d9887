"""Disruption: says how many pods of a PodDisruptionBudget may be evicted at this moment."""
