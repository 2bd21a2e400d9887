"""The policy agent: NetworkPolicies as iptables rules around the pods of its node.

Runs as a pod (image calico/node) beside flannel's wiring; reads NetworkPolicies, Pods and
Namespaces, and commands its own node's kernel only. It never asks ``podwire.netpol``: rules and
evaluator are two independent roads to a verdict.
"""
