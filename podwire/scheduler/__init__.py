"""Binds pods to nodes: filters, scores, binding, events.

Talks to the API only.
"""
