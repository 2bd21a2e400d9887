"""CustomResourceDefinitions at work: what they serve, their status, their end.

``definitions`` is the shell around ``podwire.api.crd``; ``discovery`` the paths of their groups.
"""
