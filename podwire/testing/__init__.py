"""The pytest plugin and its fixtures: for users' tests as for our own.

Calls sim; heavy imports stay inside fixtures.
"""
