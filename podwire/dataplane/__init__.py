"""What a kernel and a wire do to a packet, as a deterministic state machine.

Commands in, verdicts out. It knows no Kubernetes object: only what CNI, kube-proxy and policy
agents programmed into it. Pure: time comes as an argument, chance from a ports.Rng.
"""
