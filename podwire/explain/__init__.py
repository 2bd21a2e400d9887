"""Joins a walk with the objects that caused it: cause, candidate edits, the table people read.

Pure.
"""
