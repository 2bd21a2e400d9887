"""Scenario files, faults, the runner and its verdict.

Calls sim; is called by cli.
"""
