"""What happens to a packet inside one node: devices, bridge, neighbours, IP, ICMP, tunnels, IPVS.

Functions over (run, namespace, skb); the state they change is the namespace's.
"""
