"""Policy verdicts computed from objects alone.

Pure, and ignorant of the dataplane: an independent road to a verdict, so that each can check
the other. ``evaluator.Evaluator`` answers; ``verdict`` holds what an answer says.

What the API leaves open is decided as the shipped ``calico`` profile does: an ipBlock also
matches pod addresses, host-network pods count as their node, ICMP follows rules without ports,
a pod always reaches itself, and a node always reaches its own pods.
"""
