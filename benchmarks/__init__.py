"""The figures of docs/benchmarks.md: medians of several runs, ratios against a peer in one run.

``make bench`` prints them all; ``python -m benchmarks NAME...`` some. Nothing here is asserted.
"""
