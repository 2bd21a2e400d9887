"""Namespace: empties a terminating namespace through the API, then lets it go."""
