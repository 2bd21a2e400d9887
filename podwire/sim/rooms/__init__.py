"""The rooms as processes: ``python -m podwire.<room>``, one compose service each.

One file per room says what it needs of others (links), what it serves (counters) and how it is
composed; ``process.py`` is what they share. Nothing here decides anything about Kubernetes.
"""
