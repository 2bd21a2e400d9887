"""Aggregation: group versions that other API servers answer, as APIServices say.

An APIService with a Service takes its group version away from this server: ``aggregator.py`` knows
which those are, passes requests on (``passing_on.py``) once they are authorized, asks each
extension server whether it is there (``checks.py``, by the rules of ``core.py``), and holds what it
serves, which ``merging.py`` joins with this server's own discovery. Nobody but the API server
imports it. Source: kube-aggregator pkg/{apiserver,controllers/status/remote}.
"""
