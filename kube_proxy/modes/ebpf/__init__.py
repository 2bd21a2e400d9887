"""The eBPF mode: Cilium's kube-proxy replacement, as entries of its load-balancer maps."""
