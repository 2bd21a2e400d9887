"""Concurrent histories: a workload of writers and watchers, and a checker of what they saw."""
