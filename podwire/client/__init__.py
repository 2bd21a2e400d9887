"""How rooms talk: the six counters (typed Protocols) and what every API client needs.

Rooms meet only here: the API; node commands and queries; sockets; CNI; container host; kubelet
streams. A counter has a direct binding (same process) and a framed one (``framed/``); nothing
crosses a counter that a wire could not carry.
"""
