"""The IPVS mode: virtual servers, ipsets, and iptables rules that look into them.

Upstream: kubernetes pkg/proxy/ipvs at v1.33 (the revision of proxier.go with KUBE-IPVS-OUT-FILTER,
``nodeName`` and OnServiceCIDRsChanged). Each sync there compares everything; here a sync carries
what changed, and every syncPeriod the mode looks whether its device, sets and chains still stand.
A single element that somebody took out of a set is put back by the next full sync only.
"""
