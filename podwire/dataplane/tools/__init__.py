"""Network tools as a node's shell has them: arguments in, the real tool's text out.

One file per tool; ``TOOLS`` is the list of what exists.
"""
