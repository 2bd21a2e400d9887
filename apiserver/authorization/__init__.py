"""Who may do what, decided by rules: RBAC, and what a node may see (pure; ``authorizer.py`` asks).

``rules`` is what a rule allows and covers, ``rbac`` the roles and bindings of a cluster as an index
by subject, ``node`` what follows from the pods that are bound to a node, ``bootstrap`` the roles
and bindings that every cluster is born with. Nothing here waits, and nothing is asked of the store.
"""
