"""Endpoints (v1): the older picture of what stands behind a Service, kept for old readers."""
