"""Kubernetes' objects as data: kinds, views, codecs, selectors, patches, defaults, validation.

Pure: no I/O, no clock, no chance. Everyone above may call this room; it calls only runtime.ports.
"""
