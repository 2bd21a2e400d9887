"""Netfilter: iptables rule text parsed, printed and interpreted, and the hooks that call it."""
