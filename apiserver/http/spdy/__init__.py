"""SPDY/3.1, the server's side: what client-go speaks where WebSockets are refused, and inside the
WebSocket tunnel of port-forward.

``frames.py`` is the wire format, ``connection.py`` the streams over a Duplex. Source of the format:
SPDY Protocol Draft 3.1 (chromium.org); of what clients need of it: moby/spdystream, which has no
flow control: it ignores windows, so none is enforced here, and what is read is credited at once.
"""
