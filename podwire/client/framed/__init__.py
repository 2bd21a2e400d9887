"""The framed bindings of the six counters: msgpack messages over one connection, mTLS in life.

A binding has two halves: what a room holds (it looks like the counter itself) and what serves a
counter to others. Nothing here knows what a room does; it never retries a call, and a call whose
connection is lost raises ConnectionError: whoever called decides what that means.
"""
