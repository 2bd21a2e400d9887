"""Input that nobody in his right mind sends: see docs/security.md."""
