"""The audit log: who asked for what, what was decided, what was answered.

``policy`` is the file that says what is logged (pure), ``events`` the form of a line, ``sink`` the
file, ``auditor`` the one that watches requests go by. A server without a policy has no auditor, and
nothing of this costs it anything.
"""
