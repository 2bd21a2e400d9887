"""Binds pods to nodes: filters, scores, binding, events.

Talks to the API only. Not modelled: preemption, pod (anti-)affinity, topology spread constraints
(an event on the pod says so), volumes.
"""
