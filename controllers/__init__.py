"""The controllers, one small package each, upstream's names; registry.py is the one ordered list.

They talk to the API only.
"""
