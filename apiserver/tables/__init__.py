"""Objects as the tables people know: server-side printing.

``columns.py`` is the one list of columns per kind, ``cells*.py`` fill them, ``shapes.py`` makes
Tables and metadata-only representations of them. Source of columns and cells: kubernetes
pkg/printers/internalversion.
"""
