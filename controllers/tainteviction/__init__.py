"""Taint eviction: pods leave nodes whose NoExecute taints they tolerate not, or no longer."""
