"""The podwire command.

Imports a room only inside the verb that needs it, so that --help stays fast.
"""
