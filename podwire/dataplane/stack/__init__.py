"""What happens to a packet inside one node: links, bridge, ARP, IPv4, ICMP, VXLAN.

Functions over (run, namespace, skb); the state they change is the namespace's.
"""
