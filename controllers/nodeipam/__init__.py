"""Node IPAM: gives each node its slice of the pod network (spec.podCIDR)."""
