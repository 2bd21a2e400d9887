"""Binds pods to nodes: queue, filters, scores, preemption, binding, events.

Talks to the API only. ``core`` decides over a ``Cluster``, whose indexes every change keeps up to
date; ``hints`` say whom a change may help. What is not modelled, ``core`` and ``volumes`` tell.
"""
