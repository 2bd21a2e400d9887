"""Composition: wires the rooms together in one process, in real or in virtual time.

The only place that knows all rooms.
"""
